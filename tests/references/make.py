"""Writes `values.json`: what every metric must say of the images beside this file, and by whom.

    pip install -e ".[bench]"
    python tests/references/make.py            # the values, from the images
    python tests/references/make.py --images   # the images too, from the phantom

No metric code of xbench is used: values come from scikit-image, torchmetrics, torch-fidelity,
clean-fid, lpips and, where no package has a metric, the published formula (`independent.py`).
Pretrained networks are replaced by small stand-ins (`stand_ins.py`): the values are no one's FID,
but they change with any step on the way.

Each sheet shows 4 heads (rows) in 4 views (columns) of 48 px, with 16 bits; `output` plays the
translation of `source`, `target` shows the same views as they should be and is the set of training
images for `copied`; `bone` is the true dense bone.
"""

import json
import os
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

HERE = Path(__file__).parent
SHEETS = {"source": "synthetic_low", "output": "synthetic_high", "target": "real_normal"}
HEADS, VIEWS, SIDE, SIDE_MM = 4, 4, 48, 200
independent = runpy.run_path(str(HERE / "independent.py"))
# TorchScript asks for a name that a module can have.
stand_ins = runpy.run_path(str(HERE.parent / "stand_ins.py"), run_name="stand_ins")

Array = np.ndarray[Any, Any]
Values = dict[str, dict[str, Any]]


def cut(sheet: Path) -> Array:
    """The pictures of a sheet, uint16 or uint8 [16, 48, 48], head by head."""
    pixels = np.asarray(Image.open(sheet))
    rows = pixels.reshape(HEADS, SIDE, VIEWS, SIDE).swapaxes(1, 2)
    return rows.reshape(HEADS * VIEWS, SIDE, SIDE)


def make_images() -> None:
    """Render the phantom and write the sheets, and one of true dense bone."""
    from xbench.core.profiles import get_profile
    from xbench.datasets.phantom import Phantom

    heads = {"train_heads": 1, "train_views": 1, "val_heads": 1, "val_views": 1}
    config = Phantom.configure(get_profile("smoke")).model_copy(
        update={"size": SIDE, "test_heads": HEADS, "test_views": VIEWS, **heads}
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XBENCH_HOME"] = folder
        data = Phantom(config)
        data.prepare()
        for name, domain in SHEETS.items():
            pictures = data.images("test", domain)[:][:, 0].double().numpy()
            _write(name, np.round(pictures * 65535).astype(np.uint16))
        _write("bone", 255 * data.masks("test", SHEETS["source"]).astype(np.uint8))


def _write(name: str, pictures: Array) -> None:
    rows = pictures.reshape(HEADS, VIEWS, SIDE, SIDE).swapaxes(1, 2)
    sheet = np.ascontiguousarray(rows.reshape(HEADS * SIDE, VIEWS * SIDE))
    Image.fromarray(sheet).save(HERE / f"{name}.png", optimize=True)


def entry(value: float, by: str, tolerance: float = 1e-6) -> dict[str, Any]:
    """A value, who computed it, and how far ours may lie from it, relative to the value."""
    return {"value": float(value), "relative_tolerance": tolerance, "by": by}


def structure(output: Array, source: Array, target: Array) -> Values:
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    found = {}
    for suffix, others in (("", source), ("_ref", target)):
        pairs = list(zip(others, output, strict=True))
        ssim = [structural_similarity(a, b, data_range=1, **options) for a, b in pairs]
        psnr = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
        found["ssim" + suffix] = entry(np.mean(ssim), "scikit-image structural_similarity")
        found["psnr" + suffix] = entry(np.mean(psnr), "scikit-image peak_signal_noise_ratio")
    return found


def distances(
    names: tuple[str, str, str | None],
    sets: tuple[Array, Array, Array],
    most: int,
    features: str,
    tolerance: float,
    *,
    scaled: bool,
) -> Values:
    """Fréchet, conditional Fréchet and kernel distance of features of output, source, target."""
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torchmetrics.image.kid import poly_mmd

    pooled = np.concatenate(sets[1:])
    mean = pooled.mean(axis=0)
    std = pooled.std(axis=0) if scaled else 1.0
    output, source, target = ((x - mean) / std for x in sets)
    first, second = (
        dict(zip(("mu", "sigma"), independent["moments"](x), strict=True)) for x in (output, target)
    )
    (frechet,) = fid_statistics_to_metric(first, second, verbose=False).values()
    axes = independent["principal_components"]((pooled - mean) / std, min(most, len(output) // 4))
    conditional = independent["conditional_frechet"](source @ axes, target @ axes, output @ axes)
    found = {
        names[0]: entry(frechet, f"{features}, torch-fidelity fid_statistics_to_metric", tolerance),
        names[1]: entry(conditional, f"{features}, formula of arXiv 2103.11521", tolerance),
    }
    if names[2]:
        # Where features are not scaled, the kernel sees them as they are.
        a, b = (output, target) if scaled else (sets[0], sets[2])
        kernel = poly_mmd(torch.from_numpy(a), torch.from_numpy(b)).item()
        found[names[2]] = entry(kernel, f"{features}, torchmetrics poly_mmd", tolerance)
    return found


def balls(output: Array, target: Array, features: str, tolerance: float) -> dict[str, Any]:
    """Coverage and density of two sets of features."""
    values = independent["balls"](output, target)
    by = f"{features}, formulas of arXiv 2002.09797"
    return {
        k: entry(v, by, tolerance) for k, v in zip(("coverage", "density"), values, strict=True)
    }


def networks(sets: tuple[Array, Array, Array]) -> Values:
    """Distances on the features of the stand-ins, by clean-fid's own path from files."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setenv("XBENCH_HOME", name)
        weights = stand_ins["place"]("inception", stand_ins["inception"](), patch).parent
        network = stand_ins["clip"]().float()
        inception = tuple(
            stand_ins["inception_features"](images, weights, folder / f"inception{place}")
            for place, images in enumerate(sets)
        )
        clip = tuple(
            stand_ins["clip_features"](images, network, folder / f"clip{place}", patch)
            for place, images in enumerate(sets)
        )
    both = {("fid", "cfid", "kid"): inception, ("clip_fid", "clip_cfid", None): clip}
    found: Values = {}
    by = "clean-fid's features of a stand-in network"
    for names, features in both.items():
        wide = tuple(x.astype(np.float64) for x in features)
        found |= distances(names, wide, 32, by, 1e-4, scaled=False)
    found["coverage_inception"] = balls(inception[0], inception[2], by, 1e-4)["coverage"]
    embeddings = [stand_ins["cmmd_embeddings"](sets[k], stand_ins["clip_l336"]()) for k in (0, 2)]
    by = "TorchScript encoder of a stand-in network, formula of arXiv 2401.09603"
    found["cmmd"] = entry(independent["cmmd"](*embeddings), by, 1e-4)
    distance = stand_ins["lpips_distances"](sets[0], sets[1]).mean()
    found["lpips"] = entry(distance, "package lpips with stand-in tensors", 1e-5)
    return found


def texture(sets: tuple[Array, Array, Array]) -> Values:
    features = tuple(np.stack([independent["descriptors"](x) for x in images]) for images in sets)
    by = "62 descriptors with scikit-image, SciPy and NumPy"
    found = distances(("ftd", "cftd", "ktd"), features, 16, by, 1e-6, scaled=True)
    # Balls hold the same samples whatever is subtracted from all.
    output, target = (features[k] / np.concatenate(features[1:]).std(axis=0) for k in (0, 2))
    return found | balls(output, target, by, 1e-6)


def anatomy(output: Array, source: Array, target: Array) -> Values:
    """What is compared place by place."""

    def mean(name: str, *more: Array) -> Array:
        found = [independent[name](x, *(y[row] for y in more)) for row, x in enumerate(output)]
        return np.mean(found, axis=0)

    pooled = np.concatenate([source, target])
    heads = [f"head{view // VIEWS}" for view in range(len(output))]
    agreement, edges = mean("ngf", source), mean("edge_shifts", source)
    ltd = [
        independent["local_texture_distance"](*pair, pooled)
        for pair in zip(output, target, strict=True)
    ]
    return {
        "ltd": entry(np.mean(ltd), "NumPy and SciPy, cell by cell"),
        "match": entry(independent["match"](output, target, heads), "numpy.corrcoef"),
        "copied": entry(
            np.mean([independent["copied"](x, target) for x in output]), "NumPy, cell by cell"
        ),
        "ngf": entry(agreement[0], "NumPy and SciPy"),
        "ngf_signed": entry(agreement[1], "NumPy and SciPy"),
        "edge_shift": entry(edges[0], "NumPy and scipy.spatial cdist"),
        "edges_lost": entry(edges[2], "NumPy and scipy.spatial cdist"),
        "edges_invented": entry(edges[1], "NumPy and scipy.spatial cdist"),
    }


def physics(output: Array, target: Array, bone: Array) -> Values:
    def gap(name: str) -> float:
        a, b = (np.mean([independent[name](x) for x in images], 0) for images in (output, target))
        return float(np.sqrt(np.mean(np.square(a - b))))

    bins = independent["dark_distance_of_bins"](output, target)
    exact = independent["dark_distance"](output, target)
    assert abs(bins - exact) < 1 / 1024, "the bins of hist_emd cost more than they may"
    shift = np.mean([independent["bone_shift"](*pair) for pair in zip(output, bone, strict=True)])
    return {
        "nps": entry(gap("noise_spectrum"), "NumPy, patch by patch"),
        "hist_emd": entry(bins, f"NumPy, from histograms; {exact:.6f} from sorted greys"),
        "edge_ratio": entry(gap("sharpness"), "scipy.ndimage gaussian_filter"),
        "tissue_contrast": entry(gap("tissue_share"), "NumPy quantile"),
        "bone_shift": entry(shift, "scikit-image find_boundaries, scipy.spatial cdist"),
        "bone_shift_mm": entry(shift * SIDE_MM / 64, f"the same, with a side of {SIDE_MM} mm"),
    }


def main() -> None:
    if "--images" in sys.argv[1:]:
        make_images()
    output, source, target = (
        cut(HERE / f"{n}.png") / 65535 for n in ("output", "source", "target")
    )
    bone = cut(HERE / "bone.png") > 0
    sets = (output, source, target)
    values = structure(*sets) | texture(sets) | networks(sets) | physics(output, target, bone)
    values |= anatomy(*sets)
    text = json.dumps(values, indent=1, ensure_ascii=False)
    (HERE / "values.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
