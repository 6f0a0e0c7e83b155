"""Official values of the GANs and of UNSB."""

from typing import Any

from xbench.methods.official.sheet import SHORT, SMALL, Official, Ours, Sheet

CYCLEGAN = "junyanz/pytorch-CycleGAN-and-pix2pix: defaults"
CUT = "taesungp/contrastive-unpaired-translation b3ac297: defaults of CUT"
FASTCUT = "taesungp/contrastive-unpaired-translation b3ac297: defaults of FastCUT"
STARGAN = "yunjey/stargan 94dd002: defaults"
HIERARCHY = "WeichenFan/HierarchyFlow e50f6f8: configuration"
TURBO = "GaParmar/img2img-turbo 86f5414: documented training"
UNSB = "cyclomon/UNSB d1f644f: defaults, and its README where they disagree"

WEIGHTS = "VGG's weights are not offered"
GREY = "it would leave out the grey value, which only one of these filters sees"
COLLAPSED = "it collapsed with less"
WHOLE = "whole images, as in translation; at `medium` squares keep a step cheap"
LARGE = "whole images, as in translation"


def networks(source: str, batch: str = "") -> dict[str, Official | Ours]:
    """Networks and optimiser of CycleGAN, which the others took over."""
    return {
        "width": Official(64, source, quick=SMALL),
        "blocks": Official(9, source, quick=SMALL),
        "kernel": Official(7, source, quick=SMALL),
        "critic_width": Official(64, source, quick=SMALL),
        "critic_layers": Official(3, source, quick=SMALL),
        "batch": Official(1, source, quick=batch),
        "crop": Official(256, source, quick=WHOLE, standard=LARGE, paper=LARGE),
        "ema": Official(None, source),
        "learning_rate": Official(2e-4, source, quick=SHORT),
    }


def contrast(source: str, batch: str = "") -> dict[str, Official | Ours]:
    """Networks of CUT, and its contrasted patches."""
    return {
        **networks(source, batch),
        "antialias": Official(True, source, quick="strides instead of blurs take less time"),
        "projection": Official(256, source, quick=SMALL),
        "patches": Official(256, source, quick=SMALL),
    }


def bridge(batch: str = "") -> dict[str, Any]:
    """Settings of UNSB."""
    return {
        **contrast(UNSB, batch),
        "timesteps": Official(5, UNSB),
        "tau": Official(0.01, UNSB),
        "gan": Official(1.0, UNSB),
        "bridge": Official(1.0, UNSB),  # README and training script; the code's default is 0.1
        "nce": Official(1.0, UNSB),
        "nfe": Official(5, UNSB),
    }


SHEETS: dict[str, Sheet] = {
    "cyclegan": {
        **networks(CYCLEGAN, SHORT),
        "cycle": Official(10.0, CYCLEGAN),
        "identity_weight": Official(0.5, CYCLEGAN),
        "buffer": Official(50, CYCLEGAN),
    },
    "cut": {
        **contrast(CUT),
        "nce": Official(1.0, CUT),
        "nce_identity": Official(True, CUT),
        "flips": Official(False, CUT),
        "constant": Official(200, CUT),
        "falling": Official(200, CUT),
    },
    "fastcut": {
        **contrast(FASTCUT),
        "nce": Official(10.0, FASTCUT),
        "nce_identity": Official(False, FASTCUT),
        "flips": Official(True, FASTCUT),
        "constant": Official(150, FASTCUT),
        "falling": Official(50, FASTCUT),
    },
    "stargan": {
        "width": Official(64, STARGAN, quick=SMALL),
        "blocks": Official(6, STARGAN, quick=SMALL),
        "inject": Official("border", STARGAN),
        "critic_width": Official(64, STARGAN, quick=SMALL),
        "critic_layers": Official(6, STARGAN, quick=SMALL),
        "critic_steps": Official(5, STARGAN, quick="more steps of the generator in the same time"),
        "batch": Official(16, STARGAN, quick=SHORT),
        "learning_rate": Official(1e-4, STARGAN, quick=SHORT),
        "cycle": Official(10.0, STARGAN),
        "classes": Official(1.0, STARGAN),
        "penalty": Official(10.0, STARGAN),
        "ema": Official(0.0, STARGAN, quick="it takes streaks away, chosen on `val`"),
        "strength": Ours("a knob"),
    },
    "hierarchyflow": {
        "widths": Official((30, 120), HIERARCHY, quick=SMALL),
        "style_width": Official(64, HIERARCHY, quick=SMALL),
        "border": Official(10, HIERARCHY, quick="smaller images"),
        "back": Official("official", HIERARCHY),
        "content_level": Ours("of the filters in place of VGG"),
        "loss": Official("vgg", HIERARCHY, quick=WEIGHTS, standard=WEIGHTS, paper=WEIGHTS),
        "style_weight": Official(0.1, HIERARCHY, quick="these filters give smaller losses"),
        "leave_out": Official(0.2, HIERARCHY, quick=GREY, standard=GREY, paper=GREY),
        "batch": Official(4, HIERARCHY),
        "learning_rate": Official(1e-4, HIERARCHY, quick=SHORT),
        "strength": Ours("a knob"),
    },
    "cyclegan-turbo": {
        "rank": Official(128, TURBO),
        "vae_rank": Official(4, TURBO),
        "caption": Ours("the data set's domains"),
        "critic_width": Ours("of patch discriminators in place of those on CLIP's features"),
        "critic_layers": Ours("of patch discriminators in place of those on CLIP's features"),
        "batch": Official(1, TURBO),
        "learning_rate": Official(1e-5, TURBO),
        "gan": Official(0.5, TURBO),
        "cycle": Official(1.0, TURBO),
        "cycle_lpips": Official(10.0, TURBO),
        "same": Official(1.0, TURBO),
        "same_lpips": Official(1.0, TURBO),
        "gamma": Official(1.0, TURBO),
    },
    "unsb": bridge(),
    "unsb-official": bridge(COLLAPSED),
}
