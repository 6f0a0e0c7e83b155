"""DDIB (arXiv 2203.08382): encode under the source's label, decode under the target's.

Both ways follow the deterministic flow of the diffusion model. The official code takes DDIM's
steps, the Euler steps of this flow, and differs twice. On the way up it is one level off: it takes
the clean image for one of level 0, and the last code for one without signal. On the way down its
image demo clips and adds a classifier's guidance, which breaks the cycle.
"""

from xbench.methods import ode
from xbench.methods.base import setting
from xbench.methods.diffusion import DiffusionConfig, DiffusionMethod, with_inference
from xbench.methods.flow import LatentMethod


class DDIBConfig(DiffusionConfig):
    """Settings of DDIB."""

    signal: float = setting(
        0.0, "infer", "signal a of the codes: 1 keeps the image (official: 0, pure noise)",
        ge=0, le=1,
    )  # fmt: skip
    evaluations: int = setting(
        2000, "infer", "network evaluations per image, both ways (official: one per level)", ge=1
    )
    solver: ode.Solver = setting("euler", "infer", "steps both ways (official: euler, as DDIM)")


class DDIB(DiffusionMethod, LatentMethod):
    """Deterministic codes link the domains: images are encoded into noise and decoded from it."""

    name = "ddib"
    version = 2
    about = "deterministic codes under the source's, images under the target's label (2203.08382)"
    Config = DDIBConfig
    config: DDIBConfig
    by_profile = with_inference(
        smoke={"evaluations": 10},
        quick={"evaluations": 16, "solver": "midpoint", "signal": 0.08},
        medium={"evaluations": 16, "solver": "midpoint", "signal": 0.08},
        standard={"evaluations": 200},
    )

    def source_field(self, domain: str) -> ode.Field:
        """The velocity of the diffusion model."""
        return self.field(domain)
