"""Official values of the flows."""

from typing import Any

from xbench.methods.official.sheet import FEWER, SHORT, SMALL, UNEVEN, VALUE, Official, Ours, Sheet

#: The authors' published base; their settings for MedShift itself are not published.
ZOO = "caetas/GenerativeZoo 100f5ff: CondFM, defaults of the code"
MEDSHIFT = "arXiv 2508.21435"
RECTIFIED = "gnobitab/RectifiedFlow 5a1fd4d: configuration of AFHQ"
TORCHCFM = "atong01/conditional-flow-matching cacd4dc"
DSBM = "yuyang-shi/dsbm-pytorch 0f3ca75: README and configuration of AFHQ"

PIXELS = "no pretrained weights needed"
WIDER = "a wider network: it works on pixels, not on latents"
WARMER = "a smaller batch for a wider network"
UNGUIDED = "guidance adds to the error of the round trip"
UNTUNED = "not tuned at this size: what was chosen at `quick` for phantom 1"
SECOND = "Euler's inversion error is large"
SAME = "MedShift's network and training, so that only the way differs"
FIXED = "a fixed number of evaluations, as for all methods"


def everywhere(why: str) -> dict[str, Any]:
    """The same reason at all profiles."""
    return dict(quick=why, standard=why, paper=why)


def as_medshift(source: str, batch: int, rate: float) -> dict[str, Official | Ours]:
    """Networks of images of 512 px, in place of which there is MedShift's."""
    levels = (False, False, False, False, False, True, False)
    widths = (128, 128, 256, 256, 256, 256, 256)
    return {
        "codec": Official("pixel", source, paper=SAME),
        "factor": Official(1, source, **everywhere(SAME)),
        "vae": Ours("as MedShift"),
        "channels": Official(widths, source, **everywhere(SAME)),
        "layers": Official(2, source, quick=SMALL),
        "attention": Official(levels, source, **everywhere(SAME)),
        "batch": Official(batch, source, **everywhere(SAME)),
        "learning_rate": Official(rate, source, **everywhere(SAME)),
        "weight_decay": Official(0.0, source, **everywhere(SAME)),
        "ema": Official(0.999, source),
    }


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
        "tau": Official(0.2, ZOO, quick=VALUE, standard=UNTUNED, paper=UNTUNED),
        "guidance_source": Official(2.0, ZOO, **everywhere(UNGUIDED)),
        "guidance_target": Official(2.0, ZOO, **everywhere(UNGUIDED)),
        "solver": Official("euler", ZOO, **everywhere(SECOND)),
        # Ten steps each way, twice as many evaluations with guidance.
        "evaluations": Official(40, ZOO, quick=FEWER, standard=FEWER),
        "grid": Official(1.0, ZOO, **everywhere(UNEVEN)),
    },
    "directflow": {
        **as_medshift(RECTIFIED, batch=64, rate=2e-4),
        "coupling": Official("independent", RECTIFIED),
        "groups": Ours("one network for all pairs"),
        "sigma": Official(0.0, TORCHCFM),
        "reflow": Official(0, RECTIFIED),
        "stop": Ours("a knob"),
        "solver": Official("rk45", RECTIFIED, **everywhere(FIXED)),
        "evaluations": Ours("the official solver chooses it, about 100"),
        "grid": Ours("short steps near the source, where the velocity changes fastest"),
    },
    "dsbm": {
        **as_medshift(DSBM, batch=4, rate=1e-4),
        "sigma": Ours("not published for AFHQ; 1.01 for digits"),
        "rounds": Official(30, DSBM, quick=SHORT, standard=SHORT, paper=SHORT),
        "cache": Official(400, DSBM, quick=SHORT, standard=SHORT),
        "cache_steps": Official(100, DSBM, **everywhere(FEWER)),
        "evaluations": Official(100, DSBM, **everywhere(FEWER)),
        "noise": Official(1.0, DSBM, quick="few steps leave noise; chosen on `val`"),
    },
}
