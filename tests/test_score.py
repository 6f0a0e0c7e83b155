"""`xbench score`: folders with known answers, bad input, and rows that other programs made."""

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.linalg import inv, sqrtm
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from xbench.cli import main
from xbench.hashing import file_digest
from xbench.metrics import physics
from xbench.metrics.base import METRICS
from xbench.score import score

Xbench = Callable[..., Any]
Array = np.ndarray[Any, Any]
N, SIZE = 20, 32
FOLDERS = ("--translated", "made", "--source", "given", "--target", "true")
#: The pairs of a data set of two domains.
PAIRS = ("dim--lit", "lit--dim")
OWN = """
import torch

def moments(images):
    flat = images.flatten(1)
    return torch.stack([flat.mean(1), flat.std(1), flat.amin(1)], 1)

def pixels(images):
    return images.flatten(1)

def huge(images):
    return images.double().flatten(1)[:, :3] * 1e120
"""


class Moments(torch.nn.Module):
    """As `moments`, for TorchScript."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1)
        return torch.stack([flat.mean(1), flat.std(1), flat.amin(1)], 1)


def views(seed: int = 0, count: int = N, size: int = SIZE) -> Array:
    """Smooth shapes with a little noise, in steps of 16 bits, `[count, size, size]`."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(count, size, size)), (0, 4, 4))
    smooth = 0.5 + 0.25 * smooth / np.abs(smooth).max() + rng.uniform(-0.1, 0.1, (count, 1, 1))
    return np.round((smooth + 0.01 * rng.normal(size=smooth.shape)).clip(0, 1) * 65535) / 65535


def names(count: int = N) -> list[str]:
    """Five views of each head."""
    return [f"head{number // 5}-{number:02d}" for number in range(count)]


def steps(image: Array) -> Array:
    return np.round(image * 65535).astype(np.uint16)


def write(folder: str | Path, images: Array, called: Sequence[str] | None = None) -> Path:
    """Images in [0, 1] as 16-bit PNGs."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(called or names(len(images)), images, strict=True):
        Image.fromarray(steps(image)).save(folder / f"{name}.png")
    return folder


def scored(xbench: Xbench, *options: object) -> dict[str, Any]:
    result = xbench("score", *(options or FOLDERS), "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.fixture
def folders(xbench: Xbench) -> Array:
    """`given`, `made` and `true`, five views of each of four heads, in an empty folder."""
    given = views()
    write("given", given)
    write("made", (0.8 * given + 0.1).clip(0, 1))
    write("true", views(seed=1))
    return given


# --- known answers ----------------------------------------------------------------------------


def test_images_that_equal_source_and_target_are_perfect(xbench: Xbench, folders: Array) -> None:
    write("made", folders)
    write("true", folders)
    found = scored(xbench)
    cap = 20 * math.log10(65535)
    assert found["ssim"] == found["ssim_ref"] == 1
    assert found["psnr"] == found["psnr_ref"] == pytest.approx(cap)
    for name in ("ftd", "cftd", "nps", "hist_emd", "edge_ratio", "tissue_contrast"):
        assert found[name] == pytest.approx(0, abs=1e-9)
    assert found["n"] == found["n_target"] == N
    assert found["intervals"]["ssim"] == pytest.approx([1, 1])


def test_structure_agrees_with_skimage(xbench: Xbench, folders: Array) -> None:
    found = scored(xbench)
    made = steps((0.8 * folders + 0.1).clip(0, 1)) / 65535
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for name, others in (("", folders), ("_ref", views(seed=1))):
        pairs = list(zip(made, others, strict=True))
        ssim = np.mean([structural_similarity(a, b, data_range=1, **options) for a, b in pairs])
        psnr = np.mean([peak_signal_noise_ratio(b, a, data_range=1) for a, b in pairs])
        assert found["ssim" + name] == pytest.approx(ssim, abs=1e-6)
        assert found["psnr" + name] == pytest.approx(psnr, abs=1e-4)


def test_inverted_greys_are_seen(xbench: Xbench, folders: Array) -> None:
    write("made", 1 - folders)
    write("true", folders)
    found = scored(xbench)
    assert found["ssim"] < 0.2
    assert found["hist_emd"] > 0.03
    assert found["edge_ratio"] == pytest.approx(0, abs=0.05)
    assert "inverted polarity: correlation with the source -1.00" in found["notes"]


def test_a_shift_moves_structure_and_leaves_texture(xbench: Xbench, folders: Array) -> None:
    write("made", np.roll(folders, 3, axis=2))
    write("true", folders)
    found = scored(xbench)
    assert found["ssim"] < 0.9
    assert found["hist_emd"] == pytest.approx(0, abs=1e-9)
    assert found["nps"] < 1
    assert found["notes"] == [note for note in found["notes"] if "inverted" not in note]


def test_more_noise_raises_the_noise_power(xbench: Xbench, folders: Array) -> None:
    rng = np.random.default_rng(5)
    write("true", folders)
    found = []
    for extra in (0.0, 0.01, 0.03):
        write("made", (folders + extra * rng.normal(size=folders.shape)).clip(0, 1))
        found.append(scored(xbench))
    quiet, loud, louder = (values["nps"] for values in found)
    assert quiet == 0
    # Twice the variance is 3 dB, ten times is 10 dB, less what the metric's own floor hides.
    assert 1 < loud < 4
    assert 5 < louder < 11
    assert found[0]["ftd"] < found[1]["ftd"] < found[2]["ftd"]
    assert found[0]["ssim"] > found[1]["ssim"] > found[2]["ssim"]


def test_physics_are_those_of_the_images(xbench: Xbench, folders: Array) -> None:
    found = scored(xbench)
    made, true = (
        torch.from_numpy(steps(images).astype(np.float32) / np.float32(65535))[:, None]
        for images in ((0.8 * folders + 0.1).clip(0, 1), views(seed=1))
    )
    assert found["nps"] == pytest.approx(physics.nps_distance(made, true))
    assert found["hist_emd"] == pytest.approx(physics.attenuation_distance(made, true))
    assert found["edge_ratio"] == pytest.approx(physics.edge_ratio(made, true))
    assert found["tissue_contrast"] == pytest.approx(physics.tissue_contrast(made, true))


# --- what belongs together --------------------------------------------------------------------


def test_targets_of_other_names_are_compared_as_a_set(xbench: Xbench, folders: Array) -> None:
    shutil.rmtree("true")
    write("true", views(seed=1, count=25), [f"patient{number}" for number in range(25)])
    found = scored(xbench)
    assert found["ftd"] > 0
    assert found["n_target"] == 25
    assert found["ssim_ref"] is None
    assert (
        found["reasons"]["ssim_ref"] == found["reasons"]["cftd"] == "the targets have other names"
    )


def test_what_needs_an_absent_folder_is_empty(xbench: Xbench, folders: Array) -> None:
    alone = scored(xbench, "--translated", "made", "--target", "true")
    assert alone["ssim"] is alone["cftd"] is None
    assert alone["reasons"]["ssim"] == "no source images were given"
    assert alone["ssim_ref"] is not None
    assert alone["ftd"] is not None
    kept = scored(xbench, "--translated", "made", "--source", "given")
    assert kept["ssim"] is not None
    assert kept["reasons"]["ftd"] == kept["reasons"]["nps"] == "no target images were given"


def test_weights_that_are_not_here_leave_columns_empty(xbench: Xbench, folders: Array) -> None:
    found = scored(xbench)
    assert found["fid"] is found["clip_cfid"] is None
    assert "xbench fetch inception" in found["reasons"]["fid"]
    assert scored(xbench, *FOLDERS, "--metrics", "fid")["reasons"]["fid"]


def test_groups_make_the_intervals(xbench: Xbench, folders: Array) -> None:
    options = (*FOLDERS, "--metrics", "ssim,ftd", "--group")
    alone = scored(xbench, *FOLDERS, "--metrics", "ssim,ftd")
    heads = scored(xbench, *options, "^(head[0-9])")
    assert heads["ssim"] == alone["ssim"]
    values = score("made", "given", metrics=["ssim"])["ssim"].per_image
    assert values is not None
    means = np.reshape(values, (4, 5)).mean(1)
    # Of four groups: Student's t of 3 degrees of freedom.
    half = 3.182446 * means.std(ddof=1) / 2
    expected = [means.mean() - half, means.mean() + half]
    assert heads["intervals"]["ssim"] == pytest.approx(expected, abs=1e-5)
    low, high = alone["intervals"]["ftd"]
    assert low < alone["ftd"] < high
    assert scored(xbench, *options, "^(h)ead")["intervals"] == {}


def test_few_images_are_scored_as_far_as_they_go(xbench: Xbench) -> None:
    write("given", views(count=1))
    write("made", views(count=1) * 0.9)
    write("true", views(seed=1, count=1))
    found = scored(xbench)
    assert 0 < found["ssim"] < 1
    assert found["reasons"]["ftd"] == "n = 1, needs 16"
    assert found["intervals"] == {}


def test_constant_images_are_named_and_give_finite_numbers(xbench: Xbench, folders: Array) -> None:
    write("made", np.full((N, SIZE, SIZE), 0.5))
    found = scored(xbench)
    assert f"constant images: {N} of {N}, the first: made/head0-00.png" in found["notes"]
    assert found["ftd"] > 0
    for folder in ("given", "true"):
        write(folder, np.full((N, SIZE, SIZE), 0.5))
    assert scored(xbench)["reasons"]["cftd"] == "the features of source and target do not vary"


# --- files ------------------------------------------------------------------------------------


def test_a_files_format_changes_nothing(xbench: Xbench, folders: Array) -> None:
    before = scored(xbench)
    for number, path in enumerate(sorted(Path("made").iterdir())):
        pixels = np.asarray(Image.open(path)).astype(np.uint16)
        path.unlink()
        if number % 3 == 0:
            Image.fromarray(pixels).save(path.with_suffix(".tif"))
        elif number % 3 == 1:
            Image.fromarray((pixels / 65535).astype(np.float32)).save(path.with_suffix(".tiff"))
        else:
            np.save(path.with_suffix(".npy"), pixels)
    assert scored(xbench) == before


def test_eight_bits_of_grey_or_colour_are_alike(xbench: Xbench, folders: Array) -> None:
    found = []
    for mode in ("L", "RGB"):
        for path in Path("made").iterdir():
            pixels = np.asarray(Image.open(path)).astype(np.float64) / 257
            Image.fromarray(np.round(pixels).astype(np.uint8)).convert(mode).save(path)
        found.append(scored(xbench))
        Path("made").rename(f"made-{mode}")
        write("made", (0.8 * folders + 0.1).clip(0, 1))
    assert found[0] == found[1]


def test_order_and_batch_change_nothing(
    xbench: Xbench, folders: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scored(xbench)
    order = np.random.default_rng(3).permutation(N)
    for folder in ("given", "made", "true"):
        images = [np.asarray(Image.open(path)) / 65535 for path in sorted(Path(folder).iterdir())]
        write(folder, np.stack(images)[order])
    monkeypatch.setattr("xbench.evaluate.BATCH", 3)
    monkeypatch.setenv("XBENCH_HOME", "another")  # features are made anew
    after = scored(xbench)
    for name in before["identities"]:
        assert after[name] == (None if before[name] is None else pytest.approx(before[name]))


def test_links_are_followed_and_what_systems_leave_is_passed_over(
    xbench: Xbench, folders: Array
) -> None:
    before = scored(xbench)
    Path("made").rename("elsewhere")
    Path("made").mkdir()
    for path in Path("elsewhere").iterdir():
        Path("made", path.name).symlink_to(path.resolve())
    Path("made/.DS_Store").write_text("x")
    Path("made/Thumbs.db").write_text("x")
    Path("made/__MACOSX").mkdir()
    assert scored(xbench) == before


def test_people_get_a_table_and_the_reasons(xbench: Xbench, folders: Array) -> None:
    out = xbench("score", "--translated", "made", "--source", "given").out
    assert "95 % interval" in out
    row = next(line.split() for line in out.splitlines() if line.split()[:1] == ["psnr"])
    assert row[2] == "dB"
    assert row[-2:] == ["20", "higher"]
    (empty,) = (line for line in out.splitlines() if "no target images were given" in line)
    assert {"ssim_ref", "ftd", "nps"} <= set(
        empty.removeprefix("empty: ").replace(":", ",").split(", ")
    )


# --- features of one's own --------------------------------------------------------------------


def moments(images: Array) -> Array:
    flat = images.reshape(len(images), -1).astype(np.float32)
    return np.stack([flat.mean(1), flat.std(1, ddof=1), flat.min(1)], 1).astype(np.float64)


def frechet(a: Array, b: Array) -> float:
    """Fréchet distance by the published formula."""
    first, second = np.cov(a.T), np.cov(b.T)
    root = np.trace(sqrtm(first @ second)).real
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * root)


def conditional(x: Array, y: Array, h: Array) -> float:
    """Soloveitchik et al., equation of the conditional Fréchet distance."""
    d = x.shape[1]

    def parts(z: Array) -> tuple[Array, Array]:
        joint = np.cov(np.hstack([z, x]).T)
        across = joint[:d, d:]
        return across, joint[:d, :d] - across @ inv(joint[d:, d:]) @ across.T

    (cross_y, rest_y), (cross_h, rest_h) = parts(y), parts(h)
    gap = y.mean(0) - h.mean(0)
    moved = (cross_y - cross_h) @ inv(np.cov(x.T)) @ (cross_y - cross_h).T
    root = np.trace(sqrtm(rest_y @ rest_h)).real
    return float(gap @ gap + np.trace(moved + rest_y + rest_h) - 2 * root)


def kernel(a: Array, b: Array) -> float:
    """Unbiased squared MMD, term by term."""

    def k(u: Array, v: Array) -> float:
        return float((u @ v / len(u) + 1) ** 3)

    n = len(a)
    within = [k(x[i], x[j]) for x in (a, b) for i in range(n) for j in range(n) if i != j]
    return sum(within) / (n * (n - 1)) - 2 * float(np.mean([[k(u, v) for v in b] for u in a]))


def test_an_extractor_in_python_and_in_torchscript(xbench: Xbench, folders: Array) -> None:
    Path("own.py").write_text(OWN)
    torch.jit.script(Moments()).save("own.pt")
    found = scored(xbench, *FOLDERS, "--extractor", "own.py:moments")
    made = steps((0.8 * folders + 0.1).clip(0, 1)) / 65535
    x, y, h = moments(folders), moments(views(seed=1)), moments(made)
    assert found["fd"] == pytest.approx(frechet(h, y), rel=1e-4)
    assert found["cfd"] == pytest.approx(conditional(x, y, h), rel=1e-3)
    assert found["kd"] == pytest.approx(kernel(h, y), rel=1e-4)
    assert found["identities"]["cfd"] == f"cfd-own.moments-{file_digest(Path('own.py'))[:12]}"
    options = (*FOLDERS, "--metrics", "fd,kd", "--extractor", "own.pt")
    script = scored(xbench, *options)
    assert [script[name] for name in ("fd", "kd")] == pytest.approx([found["fd"], found["kd"]])
    assert script["identities"]["fd"] == f"fd-own-{file_digest(Path('own.pt'))[:12]}"
    assert "ssim" not in script


def test_many_features_are_projected_for_the_conditional_distance(
    xbench: Xbench, folders: Array
) -> None:
    Path("own.py").write_text(OWN)
    options = (*FOLDERS, "--metrics", "cfd", "--extractor", "own.py:pixels")
    found = scored(xbench, *options)
    assert found["identities"]["cfd"].endswith("-pca32+fit")
    flat = [x.reshape(N, -1) for x in (folders, views(seed=1))]
    flat.append(steps((0.8 * folders + 0.1).clip(0, 1)).reshape(N, -1) / 65535)
    pooled = np.concatenate(flat[:2])
    axes = np.linalg.svd(pooled - pooled.mean(0), full_matrices=False)[2][: N // 4].T
    x, y, h = ((part - pooled.mean(0)) @ axes for part in flat)
    assert found["cfd"] == pytest.approx(conditional(x, y, h), rel=1e-4)


def test_features_too_large_for_a_kernel_are_a_reason(xbench: Xbench, folders: Array) -> None:
    Path("own.py").write_text(OWN)
    options = (*FOLDERS, "--metrics", "ssim,kd", "--extractor", "own.py:huge")
    found = scored(xbench, *options)
    assert found["ssim"] is not None
    assert "too large" in found["reasons"]["kd"]


# --- bad input --------------------------------------------------------------------------------


FIRST = Path("made/head0-00.png")


def as_float(value: float) -> None:
    """The first image as a floating-point TIFF with one odd pixel."""
    image = views(count=1)[0].astype(np.float32)
    image[3, 4] = value
    FIRST.unlink()
    Image.fromarray(image).save(FIRST.with_suffix(".tif"))


def in_mode(mode: str) -> None:
    FIRST.unlink()
    grey = Image.fromarray(np.round(views(count=1)[0] * 255).astype(np.uint8))
    grey.convert(mode).save(FIRST.with_suffix(".tif"))


def of_size(path: Path, side: int) -> None:
    Image.fromarray(steps(views(count=1)[0, :side, :side])).save(path)


def dangle() -> None:
    FIRST.unlink()
    FIRST.symlink_to("nowhere.png")


def empty() -> None:
    shutil.rmtree("true")
    Path("true").mkdir()


#: What is wrong → what makes it so, and what the message must name.
DAMAGES: dict[str, tuple[Callable[[], object], str]] = {
    "nan": (lambda: as_float(math.nan), "made/head0-00.tif has values that are not finite"),
    "infinite": (lambda: as_float(math.inf), "made/head0-00.tif has values that are not finite"),
    "above 1": (lambda: as_float(1.5), "made/head0-00.tif has values from"),
    "below 0": (lambda: as_float(-0.5), "made/head0-00.tif has values from -0.5"),
    "1 bit": (lambda: in_mode("1"), "made/head0-00.tif has 1 bit"),
    "palette": (lambda: in_mode("P"), "made/head0-00.tif has a palette"),
    "CMYK": (lambda: in_mode("CMYK"), "made/head0-00.tif has the colours of a printer"),
    "truncated": (lambda: FIRST.write_bytes(FIRST.read_bytes()[:300]), str(FIRST)),
    "text in a PNG": (lambda: FIRST.write_text("not an image"), str(FIRST)),
    "text file": (lambda: Path("made/notes.txt").write_text("!"), "made/notes.txt is no image"),
    "folder": (lambda: Path("made/more").mkdir(), "made/more is no image"),
    "dangling link": (dangle, "made/head0-00.png is not there"),
    "mixed sizes": (
        lambda: of_size(Path("true/head0-00.png"), 24),
        "made/head0-00.png has 32 x 32 pixels, true/head0-00.png 24 x 24",
    ),
    "tiny": (lambda: of_size(FIRST, 8), "made/head0-00.png has 8 x 8 pixels"),
    "two of one name": (
        lambda: shutil.copy(FIRST, FIRST.with_suffix(".tif")),
        "made/head0-00.png and made/head0-00.tif have one name",
    ),
    "odd name": (
        lambda: FIRST.rename("made/other.png"),
        "given/head0-00.png has no partner called 'head0-00' in made",
    ),
    "missing source": (
        lambda: Path("given/head3-19.png").unlink(),
        "made/head3-19.png has no partner called 'head3-19' in given",
    ),
    "empty folder": (empty, "there are no images in true"),
    "no folder": (lambda: shutil.rmtree("true"), "there is no folder true"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_bad_file_is_named_in_three_lines(xbench: Xbench, folders: Array, what: str) -> None:
    spoil, named = DAMAGES[what]
    spoil()
    result = xbench("score", *FOLDERS, "--json")
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.strip().splitlines()) == 3
    assert named in result.err
    assert "dataset.toml" not in result.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--source given --metrics ssmi", "did you mean ssim?"),
        ("--source given --metrics ssim,fd", "--extractor"),
        ("--source given --extractor nothing.py:f", "nothing.py"),
        ("--source given --extractor inception", "xbench fetch inception"),
        ("--source given --stats nothing.safetensors", "nothing.safetensors is not there"),
        ("--source given --stats made/head0-00.png", "cannot be read"),
        ("--source given --group head[0-9]", "no bracketed part"),
        ("--source given --group (head", "no regular expression"),
        ("--source given --group (patient)", "finds a group in no name"),
        ("", "nothing to compare"),
        ("--source given --dataset phantom", "--dataset belongs to --as"),
        ("--as rival --target true", "--target is for folders"),
        ("--as histogram", "'histogram' is taken"),
        ("--as floor", "'floor' is taken"),
        ("--as a:b", "'a:b' cannot name a row"),
        ("--as mine[2]", "--as my-mine-2"),
        ("--as ../mine", "'../mine' cannot name a row"),
        ("--as rival --profile smok", "did you mean smoke?"),
        ("--as rival --split tset", "did you mean test?"),
        ("--as rival --profile smoke", "made/synthetic_low--synthetic_high/<id>.png"),
    ],
)
def test_a_wrong_option_is_explained_in_three_lines(
    xbench: Xbench, folders: Array, options: str, expected: str
) -> None:
    result = xbench("score", "--translated", "made", *options.split())
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.strip().splitlines()) == 3
    assert expected in result.err
    assert not Path("runs").exists()


# --- rows of a leaderboard --------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set `heads` of two domains, and `runs` with a filter; tests must not change them."""
    root = tmp_path_factory.mktemp("world")
    for place, gain in enumerate({"dim": 0.5, "lit": 1.0}.values()):
        write(root / "heads" / "train" / ("dim", "lit")[place], gain * views(seed=7 + place))
        write(root / "heads" / "test" / ("dim", "lit")[place], gain * views(seed=9))
    (root / "heads" / "dataset.toml").write_text('[split]\ngroup = "^(head[0-9])"\n')
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                *("run", "--method", "histogram", "--profile", "smoke"),
                *("--dataset", str(root / "heads"), "--out", str(root / "runs")),
            ]
        )
    assert not stopped.value.code
    return root


RESULTS = Path("runs/heads/smoke")
#: Where the filter's images lie.
IMAGES = RESULTS / "images/histogram/seed0"


def record(folder: Path, row: str, pair: str = PAIRS[0], seed: int = 0) -> dict[str, Any]:
    path = folder / "records" / row / f"seed{seed}" / f"{pair}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_folder_is_scored_as_a_run_does(xbench: Xbench, world: Path) -> None:
    wanted = record(world / RESULTS, "histogram")
    features = Path(os.environ["XBENCH_HOME"], "features", wanted["data"]["key"])
    found = scored(
        xbench,
        *("--translated", world / IMAGES / PAIRS[0], "--source", world / "heads/test/dim"),
        *("--target", world / "heads/test/lit", "--group", "^(head[0-9])"),
        *("--stats", features / "texture-v1.safetensors"),
    )
    compared = set()
    for name, value in wanted["metrics"].items():
        assert found["identities"][name] == value["identity"]
        if value["value"] is not None:
            assert found[name] == pytest.approx(value["value"], rel=1e-9, abs=1e-12), name
            expected = [value["ci_low"], value["ci_high"]]
            assert found["intervals"][name] == pytest.approx(expected, rel=1e-6, abs=1e-9)
            compared.add(name)
    # All but what needs weights, or masks, which a folder has not.
    free = {name for name, metric in METRICS.items() if metric.space in ("pixels", "texture")}
    assert compared == {name for name in free if not METRICS[name].needs_masks}


def add(xbench: Xbench, world: Path, translated: Path, *options: object) -> Any:
    return xbench(
        *("score", "--as", "rival", "--translated", translated),
        *("--dataset", world / "heads", "--profile", "smoke", *options),
    )


def test_images_of_any_program_become_a_row(xbench: Xbench, world: Path) -> None:
    result = add(xbench, world, world / IMAGES, "--json")
    assert result.code == 0, result.err
    for pair in PAIRS:
        ours, known = record(RESULTS, "rival", pair), record(world / RESULTS, "histogram", pair)
        assert ours["metrics"] == known["metrics"]
        assert ours["polarity"] == known["polarity"]
        assert ours["images_sha256"] == known["images_sha256"]
        assert ours["method"]["version"] == "external"
        assert ours["method"]["params"] is None
    rows = {row["method"]: row for row in json.loads(result.out)}
    assert {"identity", "floor[n/2]", "rival"} == set(rows)
    assert rows["rival"]["pairs"] == "2/2"
    assert rows["rival"]["rank"] == 1
    unknown = ("params", "params_total", "nfe", "train_images", "seconds_per_image")
    assert [rows["rival"][name] for name in unknown] == [None] * 5
    assert "rival" in (RESULTS / "leaderboard.md").read_text()


def test_the_same_images_are_scored_once_and_changed_ones_replace_them(
    xbench: Xbench, world: Path
) -> None:
    theirs = Path(shutil.copytree(world / IMAGES, "theirs"))
    assert add(xbench, world, theirs, "--seed", 3).code == 0
    before = {pair: record(RESULTS, "rival", pair, seed=3) for pair in PAIRS}
    stamps = {path: path.stat().st_mtime_ns for path in RESULTS.glob("records/**/*.json")}
    assert add(xbench, world, theirs, "--seed", 3).code == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    changed = next((theirs / PAIRS[0]).iterdir())
    pixels = np.asarray(Image.open(changed)).astype(np.uint16)
    changed.unlink()
    Image.fromarray(pixels // 2).save(changed.with_suffix(".tif"))
    assert add(xbench, world, theirs, "--seed", 3).code == 0
    after = {pair: record(RESULTS, "rival", pair, seed=3) for pair in PAIRS}
    assert after[PAIRS[1]] == before[PAIRS[1]]
    new, old = after[PAIRS[0]], before[PAIRS[0]]
    assert new["key"] != old["key"]
    assert new["metrics"]["psnr"]["value"] != old["metrics"]["psnr"]["value"]


def test_a_row_needs_every_image_of_a_pair_in_the_working_size(xbench: Xbench, world: Path) -> None:
    theirs = Path(shutil.copytree(world / IMAGES, "theirs"))
    path = sorted((theirs / PAIRS[0]).iterdir())[2]
    kept = path.read_bytes()
    path.unlink()
    assert f"{path} is not there" in add(xbench, world, theirs).err
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(path)
    assert f"{path} has 64 x 64 pixels" in add(xbench, world, theirs).err
    path.write_bytes(kept)
    (theirs / PAIRS[1]).rename(theirs / "litt--dim")
    result = add(xbench, world, theirs)
    assert result.code == 2
    assert f"did you mean {PAIRS[1]}?" in result.err
    assert not (RESULTS / "records").exists()
    shutil.rmtree(theirs / "litt--dim")
    shutil.copy(path, path.with_name("more.png"))
    result = add(xbench, world, theirs)
    assert result.code == 0
    assert "1 images are no ids of the test split and left out, the first: more.png" in result.err
    table = pd.read_csv(RESULTS / "pairs.csv")
    assert table[table.method == "rival"].source.tolist() == ["dim"]


def test_a_row_of_a_plugin_is_not_written_over(xbench: Xbench, world: Path) -> None:
    Path("rival.py").write_text(
        "from xbench.methods.base import Method\n\nclass Rival(Method):\n"
        "    def translate(self, images, source, target, *, generators):\n        return images\n"
    )
    run = ("run", "--method", "rival.py:Rival", "--dataset", world / "heads", "--profile", "smoke")
    assert xbench(*run).code == 0
    result = add(xbench, world, world / IMAGES)
    assert result.code == 2
    assert "a row 'rival' that a method of xbench made" in result.err
