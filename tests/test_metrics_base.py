"""What metrics declare, and what importing them costs."""

import subprocess
import sys

from xbench.metrics.base import METRICS


def test_columns_and_identities() -> None:
    """The identity of a definition must change whenever its values do."""
    assert {name: metric.identity for name, metric in METRICS.items()} == {
        "ssim": "ssim-gauss11-v1",
        "psnr": "psnr-v1",
        "ssim_ref": "ssim-gauss11-v1",
        "psnr_ref": "psnr-v1",
        "ftd": "ftd-v1",
        "cftd": "cftd-v1",
        "fid": "fid-inception-clean-v1",
        "cfid": "cfid-inception-pca32-v1",
        "ktd": "ktd-v1",
        "kid": "kid-inception-v1",
        "clip_fid": "fid-clip-b32-v1",
        "clip_cfid": "cfid-clip-b32-pca32-v1",
        "nps": "nps-v1",
        "hist_emd": "hist-emd-dark25-v1",
        "edge_ratio": "edge-ratio-v1",
        "tissue_contrast": "tissue-share-v1",
        "bone_dice": "bone-dice-otsu-v1",
    }


def test_the_first_columns_are_fixed() -> None:
    first = ["ssim", "psnr", "ssim_ref", "psnr_ref", "ftd", "cftd", "fid", "cfid"]
    assert list(METRICS)[:8] == first


def test_facts() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    paired = [name for name, metric in METRICS.items() if metric.paired]
    assert paired == ["ssim_ref", "psnr_ref", "cftd", "cfid", "clip_cfid"]
    rising = [name for name, metric in METRICS.items() if metric.higher_is_better]
    assert rising == ["ssim", "psnr", "ssim_ref", "psnr_ref", "bone_dice"]
    assert {metric.min_n for metric in METRICS.values() if metric.space != "pixels"} == {16}
    assert {name for name, metric in METRICS.items() if metric.unit} == {"psnr", "psnr_ref", "nps"}
    unbiased = [n for n, m in METRICS.items() if m.kind == "features" and not m.extrapolates]
    assert unbiased == ["ktd", "kid"]
    assert all(METRICS[name].span == (None, None) for name in unbiased)


def test_importing_the_facts_is_cheap() -> None:
    code = "import sys, xbench.metrics.base; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
