"""Official values of the methods on the diffusion model."""

from typing import Any

from xbench.methods.official.sheet import FEWER, SHORT, SMALL, VALUE, Official, Ours, Sheet

SDEDIT = "ermongroup/SDEdit 66a5e44: configs and README"
DDPM = "arXiv 2006.11239, appendix B (SDEdit's repository has no training)"
DDIB = "suxuann/ddib 89e5c27: README"
ADM = "arXiv 2105.05233 and openai/guided-diffusion, whose networks DDIB takes"
CYCLE = "ChenWu98/cycle-diffusion 3edb980: configuration of AFHQ"

BLOCKS = "blocks of pixels as channels cost less time"
EQUAL = "as MedShift, to compare them at equal size"
SHARED = "one network and one training for the three methods: SDEdit's network"
COLLAPSE = "epsilon under linear betas collapses in a short training"
RATE = "the rate of guided-diffusion, for all three"
UNPUBLISHED = "not published: the official code takes others' checkpoints"
SECOND = "second order at as many evaluations"
EVEN = "times of the path, as MedShift's; officially equal shares of the levels"
CONTOUR = "mazurowski-lab/ContourDiff 0771460: defaults of the training script"
REVEALS = "fixed slopes reveal the domain"
NO_VAE = "no effect with the pixel codec"


def shared(network: dict[str, Any], source: str) -> dict[str, Official | Ours]:
    """Codec, noise schedule and steps, the same in all three."""
    return {
        "codec": Official("pixel", source),
        "factor": Official(1, source, quick=BLOCKS, standard=BLOCKS),
        "vae": Ours(NO_VAE),
        **network,
        "betas": Official("linear", source, quick=COLLAPSE),
        "predicts": Official("epsilon", source, quick=COLLAPSE),
        "solver": Official("euler", source, quick=SECOND),
        "grid": Ours(EVEN),
    }


SHEETS: dict[str, Sheet] = {
    "sdedit": {
        **shared(
            {
                "channels": Official(
                    (128, 128, 256, 256, 512, 512), SDEDIT, quick=SMALL, standard=EQUAL
                ),
                "layers": Official(2, SDEDIT, quick=SMALL),
                "attention": Official(
                    (False, False, False, False, True, False), SDEDIT, quick=SMALL, standard=EQUAL
                ),
                "batch": Official(64, DDPM, quick=SHORT, standard=EQUAL),
                "learning_rate": Official(2e-5, DDPM, quick=SHORT, standard=EQUAL, paper=RATE),
                "weight_decay": Official(0.0, DDPM, quick=EQUAL),
                "ema": Official(0.9999, DDPM, quick=SHORT, standard=EQUAL),
                "decay": Official(False, DDPM, quick=SHORT, standard=EQUAL),
            },
            SDEDIT,
        ),
        # README: a strength of .5 of linear betas; the default of the code is .4, signal .195.
        "signal": Official(0.0786, SDEDIT, quick=VALUE),
        "evaluations": Official(500, SDEDIT, quick=FEWER, standard=FEWER),
        "eta": Official(1.0, SDEDIT),
    },
    "ddib": {
        **shared(
            {
                "channels": Official(
                    (256, 256, 512, 512, 1024, 1024),
                    DDIB, quick=SMALL, standard=EQUAL, paper=SHARED,
                ),
                "layers": Official(2, DDIB, quick=SMALL),
                "attention": Official(
                    (False, False, False, True, True, True),
                    DDIB, quick=SMALL, standard=EQUAL, paper=SHARED,
                ),
                "batch": Official(256, ADM, quick=SHORT, standard=EQUAL, paper=SHARED),
                "learning_rate": Official(1e-4, ADM, quick=SHORT, standard=EQUAL),
                "weight_decay": Official(0.0, ADM, quick=EQUAL),
                "ema": Official(0.9999, ADM, quick=SHORT, standard=EQUAL),
                "decay": Official(False, ADM, quick=SHORT, standard=EQUAL),
            },
            DDIB,
        ),
        "signal": Official(0.0, DDIB, quick=VALUE),
        "evaluations": Official(2000, DDIB, quick=FEWER, standard=FEWER),
    },
    "cyclediffusion": {
        **shared(
            {
                "channels": Official(
                    (128, 128, 256, 256, 512, 512), CYCLE, quick=SMALL, standard=EQUAL
                ),
                "layers": Official(1, CYCLE, standard=EQUAL, paper=SHARED),
                "attention": Official(
                    (False, False, False, False, True, False), CYCLE, quick=SMALL, standard=EQUAL
                ),
                "batch": Ours(UNPUBLISHED),
                "learning_rate": Ours(UNPUBLISHED),
                "weight_decay": Ours(UNPUBLISHED),
                "ema": Official(0.9999, CYCLE, quick=SHORT, standard=EQUAL),
                "decay": Ours(UNPUBLISHED),
            },
            CYCLE,
        ),
        # A strength of .85 of linear betas, and one of .1 for the refinement.
        "signal": Official(0.00067, CYCLE, quick=VALUE),
        "evaluations": Official(1799, CYCLE, quick=FEWER, standard=FEWER),
        "eta": Official(0.1, CYCLE, quick="more noise to record, as there are few steps"),
        "refine": Official(0.897, CYCLE, quick=FEWER),
    },
    "contourdiff": {
        **shared(
            {
                "channels": Official(
                    (128, 128, 256, 256, 512, 512), CONTOUR, quick=SMALL, standard=EQUAL
                ),
                "layers": Official(2, CONTOUR, quick=SMALL),
                "attention": Official(
                    (False, False, False, False, True, False), CONTOUR, quick=SMALL, standard=EQUAL
                ),
                "batch": Official(4, CONTOUR, quick=SHORT, standard=EQUAL),
                "learning_rate": Official(1e-4, CONTOUR, quick=SHORT, standard=EQUAL),
                "weight_decay": Official(1e-2, CONTOUR, quick=EQUAL, standard=EQUAL),
                "ema": Official(0.0, CONTOUR, quick=EQUAL, standard=EQUAL),
                "decay": Official(True, CONTOUR),
            },
            CONTOUR,
        ),
        "sigma": Official(0.8, CONTOUR, quick=REVEALS, standard=REVEALS, paper=REVEALS),
        "low": Ours("officially a slope, 80 of 255 per pixel"),
        "high": Ours("officially a slope, 150 of 255 per pixel"),
        "contour_dropout": Official(0.0, CONTOUR),
        "solver": Official("euler", CONTOUR),
        "signal": Official(0.0, CONTOUR, quick=VALUE),
        "evaluations": Official(50, CONTOUR, quick=FEWER),
        "eta": Official(1.0, CONTOUR),
        "clip": Official(True, CONTOUR, quick=VALUE),
    },
}  # fmt: skip
