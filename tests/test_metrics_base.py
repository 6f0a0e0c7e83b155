"""What metrics declare, and what importing them costs."""

import subprocess
import sys

from xbench.metrics.base import METRICS


def test_columns_and_identities() -> None:
    assert {name: metric.identity for name, metric in METRICS.items()} == {
        "ssim": "ssim-gauss11-v1",
        "psnr": "psnr-v1",
        "ssim_ref": "ssim-gauss11-v1",
        "psnr_ref": "psnr-v1",
        "ftd": "ftd-v1",
        "cftd": "cftd-v1",
        "fid": "fid-inception-clean-v1",
        "cfid": "cfid-inception-pca32-v1",
    }
    assert list(METRICS) == ["ssim", "psnr", "ssim_ref", "psnr_ref", "ftd", "cftd", "fid", "cfid"]


def test_facts() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    paired = [name for name, metric in METRICS.items() if metric.paired]
    assert paired == ["ssim_ref", "psnr_ref", "cftd", "cfid"]
    rising = [name for name, metric in METRICS.items() if metric.higher_is_better]
    assert rising == ["ssim", "psnr", "ssim_ref", "psnr_ref"]
    assert {metric.min_n for metric in METRICS.values() if metric.space != "pixels"} == {16}
    assert {name for name, metric in METRICS.items() if metric.unit} == {"psnr", "psnr_ref"}


def test_importing_the_facts_is_cheap() -> None:
    code = "import sys, xbench.metrics.base; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
