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
        "bone_shift": "bone-shift-v1",
        "bone_shift_mm": "bone-shift-v1",
        "ltd": "ltd-v1",
        "match": "match-v1",
        "copied": "copied-v1",
        "ngf": "ngf-v1",
        "ngf_signed": "ngf-v1",
        "edge_shift": "edge-shift-v1",
        "edges_lost": "edge-shift-v1",
        "edges_invented": "edge-shift-v1",
        "coverage": "coverage-texture-k5-v1",
        "density": "density-texture-k5-v1",
        "coverage_inception": "coverage-inception-k5-v1",
        "cmmd": "cmmd-clip-l14-336-v1",
        "lpips": "lpips-alex-v0.1",
    }


def test_the_first_columns_are_fixed() -> None:
    first = ["ssim", "psnr", "ssim_ref", "psnr_ref", "ftd", "cftd", "fid", "cfid"]
    assert list(METRICS)[:8] == first


def named(**facts: object) -> list[str]:
    """Metrics whose declarations have these facts."""
    return [n for n, m in METRICS.items() if all(getattr(m, k) == v for k, v in facts.items())]


def test_facts() -> None:
    assert all(name == metric.name for name, metric in METRICS.items())
    paired = [name for name, metric in METRICS.items() if metric.paired]
    assert paired == ["ssim_ref", "psnr_ref", "cftd", "cfid", "clip_cfid", "ltd"]
    assert set(named(higher_is_better=True)) == {
        *("ssim", "psnr", "ssim_ref", "psnr_ref", "match", "ngf", "ngf_signed"),
        *("coverage", "density", "coverage_inception"),
    }
    assert {metric.min_n for metric in METRICS.values() if metric.space != "pixels"} == {16}
    assert (METRICS["match"].min_n, METRICS["match"].min_groups) == (16, 3)
    assert METRICS["ltd"].min_side == METRICS["copied"].min_side == 32
    units = {name: metric.unit for name, metric in METRICS.items() if metric.unit}
    assert units == {
        **dict.fromkeys(("psnr", "psnr_ref", "nps"), "dB"),
        **dict.fromkeys(("bone_shift", "edge_shift", "edges_lost", "edges_invented"), "px"),
        "bone_shift_mm": "mm",
    }
    assert named(kind="features", extrapolates=True) == ["ftd", "fid", "clip_fid"]
    # Unbiased: the values of equal distributions scatter about 0.
    assert named(span=(None, None)) == ["ktd", "kid"]
    assert named(weights="lpips") == ["lpips"]


def test_tables_for_people_have_few_columns() -> None:
    first = ["ssim", "psnr", "ssim_ref", "psnr_ref", "ftd", "cftd", "fid", "cfid"]
    assert named(in_tables=True) == [*first, "nps", "ltd", "match"]


def test_one_line_says_what_a_column_is() -> None:
    for metric in METRICS.values():
        assert metric.about.endswith((".", "?")), metric.name
        assert 20 < len(metric.about) < 100, metric.name
        assert not metric.about.startswith("The same"), metric.name


def test_importing_the_facts_is_cheap() -> None:
    code = "import sys, xbench.metrics.base; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
