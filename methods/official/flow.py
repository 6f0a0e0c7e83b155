"""Official values of the flows."""

from typing import Any

from xbench.methods.official.sheet import FEWER, SHORT, SMALL, UNEVEN, VALUE, Official, Ours, Sheet

#: The authors' published base; their settings for MedShift itself are not published.
ZOO = "caetas/GenerativeZoo 100f5ff: CondFM, defaults of the code"
MEDSHIFT = "arXiv 2508.21435"

PIXELS = "no pretrained weights needed"
WIDER = "a wider network: it works on pixels, not on latents"
WARMER = "a smaller batch for a wider network"
UNGUIDED = "guidance adds to the error of the round trip"
SECOND = "Euler's inversion error is large"


def everywhere(why: str) -> dict[str, Any]:
    """The same reason at all profiles."""
    return dict(quick=why, standard=why, paper=why)


SHEETS: dict[str, Sheet] = {
    "medshift": {
        "codec": Official("vae", MEDSHIFT, quick=PIXELS, standard=PIXELS),
        "factor": Ours("of the pixel codec"),
        "vae": Official("stabilityai/sd-vae-ft-mse", ZOO),
        "channels": Official((64, 128, 128), ZOO, quick=SMALL, standard=WIDER),
        "layers": Official(2, ZOO, quick=SMALL),
        "attention": Official((False, False, True), ZOO, standard=WIDER),
        "batch": Official(256, ZOO, quick=SHORT, standard=WARMER),
        "learning_rate": Official(1e-3, ZOO, quick=SHORT, standard=WARMER),
        "weight_decay": Official(1e-5, ZOO),
        "ema": Official(0.999, ZOO),
        "label_dropout": Official(
            0.2, ZOO, quick="unguided by default", standard="unguided by default"
        ),
        "sigma": Official(1e-4, ZOO),
        "tau": Official(0.2, ZOO, **everywhere(VALUE)),
        "guidance_source": Official(2.0, ZOO, **everywhere(UNGUIDED)),
        "guidance_target": Official(2.0, ZOO, **everywhere(UNGUIDED)),
        "solver": Official("euler", ZOO, **everywhere(SECOND)),
        # Ten steps each way, twice as many evaluations with guidance.
        "evaluations": Official(40, ZOO, quick=FEWER, standard=FEWER),
        "grid": Official(1.0, ZOO, **everywhere(UNEVEN)),
    },
}
