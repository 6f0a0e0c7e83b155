"""The phantom data set: splits, alignment, cache."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from xbench.core.errors import UserError
from xbench.core.files import atomic
from xbench.core.profiles import PROFILES
from xbench.datasets.base import Dataset, Images
from xbench.datasets.labels import Labels
from xbench.datasets.phantom import Phantom, PhantomConfig
from xbench.datasets.phantom.files import Job
from xbench.datasets.visible import TrainOnly

TINY = PhantomConfig(
    size=32,
    voxel_mm=6.0,
    train_heads=1,
    train_views=2,
    val_heads=1,
    val_views=2,
    test_heads=2,
    test_views=4,
    paired_heads=1,
    paired_views=2,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantom")


@pytest.fixture
def tiny(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Phantom:
    """A prepared data set that tests only read."""
    monkeypatch.setenv("XBENCH_HOME", str(shared))
    made = Phantom(TINY)
    made.prepare()
    return made


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phantom:
    """A prepared data set that tests may damage."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    made = Phantom(TINY.model_copy(update={"test_heads": 1, "test_views": 1}))
    made.prepare()
    return made


def contents(data: Phantom) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data.cache().glob("*")}


def test_sizes_and_ids(tiny: Phantom) -> None:
    assert len(tiny.train("real_low")) == 2
    assert tiny.train("real_low")[0].shape == (1, 32, 32)
    for split, count in (("val", 2), ("test", 8)):
        ids, groups = tiny.ids(split, "real_low"), tiny.groups(split, "real_low")
        assert len(set(ids)) == len(ids) == len(groups) == count
        for domain in tiny.domains:
            assert len(tiny.images(split, domain)) == count
            assert len(tiny.repeats(split, domain)) == count
        assert tiny.bone_masks(split).shape == (count, 32, 32)
        assert all(name.startswith(group) for name, group in zip(ids, groups, strict=True))
        assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in ids)


def test_test_views_cover_the_classes(tiny: Phantom) -> None:
    assert len({view.view for view in tiny.truth("test")}) == 8
    assert {view.group for view in tiny.truth("test")} == {"test000", "test001"}


def test_no_head_is_used_twice(tiny: Phantom) -> None:
    sidecars = [json.loads(path.read_text()) for path in tiny.cache().glob("*.json")]
    seeds = [side["head_seed"] for side in sidecars]
    assert len(seeds) == 5 + 1 + 2
    assert len(set(seeds)) == len(seeds)
    # Nor do two training sets share a view.
    views = [json.dumps(side["views"][0]["lao"]) for side in sidecars]
    assert len(set(views)) == len(views)


def test_domains_show_the_same_view(tiny: Phantom) -> None:
    stacks = [tiny.expected("test", domain)[:].flatten(1) for domain in tiny.domains]
    for other in stacks[1:]:
        for i in range(8):
            right = torch.corrcoef(torch.stack([stacks[0][i], other[i]]))[0, 1]
            wrong = torch.corrcoef(torch.stack([stacks[0][i], other[(i + 1) % 8]]))[0, 1]
            assert right > 0.8
            assert right > wrong


def test_masks_lie_on_the_bone(tiny: Phantom) -> None:
    mask, dense = (torch.from_numpy(tiny.bone_masks("test", cm)) for cm in (0.15, 2.5))
    assert 0.4 < mask.double().mean() < 0.8
    assert 0.02 < dense.double().mean() < 0.4
    assert not (dense & ~mask).any()
    for domain in tiny.domains:
        images = tiny.images("test", domain)[:].squeeze(1)
        assert images[dense].mean() < images[mask].mean() - 0.03
        assert images[mask].mean() < images[~mask].mean() - 0.2


def test_repeats_differ_by_noise_where_images_are_predictable(tiny: Phantom) -> None:
    for domain in tiny.domains:
        first, second = tiny.images("test", domain)[:], tiny.repeats("test", domain)[:]
        assert not torch.equal(first, second)
        mask = torch.from_numpy(tiny.unpredictable("test", domain))[:, None]
        assert bool(mask.any()) == domain.startswith("real")
        difference = (first - second)[~mask]
        assert difference.mean().abs() < 0.004
        assert difference.std() < 0.08
    silent = Phantom(
        TINY.model_copy(
            update={"noise": False, "variation": False, "train_heads": 0, "val_heads": 0}
        )
    )
    silent.prepare()
    assert silent.unpredictable("test", "real_low") is None
    for domain in silent.domains:
        first, second = silent.images("test", domain)[:], silent.repeats("test", domain)[:]
        assert torch.equal(first, second)


def test_expected_images_are_free_of_noise(tiny: Phantom) -> None:
    for domain in ("synthetic_low", "real_low"):  # the noisy ones
        first, second = tiny.images("test", domain)[:], tiny.repeats("test", domain)[:]
        expected = tiny.expected("test", domain)[:]
        clear = ~torch.from_numpy(tiny.unpredictable("test", domain))[:, None]
        error = (first - expected)[clear].square().mean()
        assert error < 0.7 * (first - second)[clear].square().mean()


def test_training_heads_have_their_truth_too(tiny: Phantom) -> None:
    for domain in tiny.domains:
        images, truth = tiny.train(domain), tiny.truth("train", domain)
        assert len(images) == len(truth) == len(tiny.expected("train", domain))
        assert (images[:] - tiny.expected("train", domain)[:]).abs().mean() < 0.1
        masks = tiny.anatomy("train", domain)
        assert set(masks) == {"dense_bone", "orbits", "sinuses", "teeth"}
        assert all(mask.shape == (2, 32, 32) for mask in masks.values())
        assert masks["dense_bone"].any()
        assert {len(view.landmarks) for view in truth} == {8}
        labels = tiny.labels("train", domain)
        assert set(labels.masks) == {"dense_bone", "orbits"}
        assert len(labels.landmarks) == 8
        assert all(places.shape == (2, 2) for places in labels.landmarks.values())
        assert labels.angles.tolist() == [[view.lao, view.cran] for view in truth]
    arrays = [np.load(path) for path in tiny.cache().glob("train-*-000.npy")]
    assert [array.shape for array in arrays] == [(2, 32, 32)] * 5


def reachable(start: object) -> Iterator[object]:
    """Everything that attributes, items, closures and bound methods of an object lead to."""
    left, seen = [start], set()
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, type | np.ndarray | str | int):
            continue
        seen.add(id(found))
        yield found
        left += getattr(found, "__dict__", {}).values()
        left += [getattr(found, "__self__", None)]
        left += [cell.cell_contents for cell in getattr(found, "__closure__", None) or ()]
        left += found.values() if isinstance(found, dict) else ()
        left += found if isinstance(found, list | tuple | set) else ()


def test_methods_see_training_images_and_nothing_else(tiny: Phantom) -> None:
    given = list(reachable(TrainOnly(tiny)))
    assert sum(isinstance(found, Images) for found in given) == len(tiny.domains)
    assert not [found for found in given if isinstance(found, Dataset | Labels | Job)]
    # The walk finds a data set where there is a way to it.
    assert tiny in reachable({"train": tiny.train})


def test_landmarks_lie_on_what_they_name(tiny: Phantom) -> None:
    for view, bone in zip(tiny.truth("test"), tiny.bone_masks("test", 0.05), strict=True):
        grown = max_pool2d(torch.from_numpy(bone)[None].float(), 3, 1, 1)[0] > 0
        for name, (row, column) in view.landmarks.items():
            if 0 <= row <= 31 and 0 <= column <= 31:
                assert grown[round(row), round(column)], (view.id, name)
        left, right = (view.landmarks[f"orbitale {side}"][1] for side in ("left", "right"))
        if abs(view.lao) < 45:
            assert left > right + 3
        assert view.landmarks["chin"][0] > view.landmarks["nasion"][0]


def test_paired_heads_are_used_nowhere_else(fresh: Phantom) -> None:
    with pytest.raises(UserError, match="has not been made"):
        fresh.paired("real_low")
    fresh.prepare_paired()
    assert {len(fresh.paired(domain)) for domain in fresh.domains} == {2}
    sides = [json.loads(path.read_text()) for path in fresh.cache().glob("*.json")]
    assert len({side["head_seed"] for side in sides}) == len(sides)


def test_preparing_again_changes_nothing(tiny: Phantom) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.cache().glob("*")}
    calls: list[tuple[int, int, str]] = []
    tiny.prepare(lambda *call: calls.append(call))
    assert before == {path: path.stat().st_mtime_ns for path in tiny.cache().glob("*")}
    assert calls == []


def test_processes_and_order_do_not_matter(
    tiny: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(tiny)
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    monkeypatch.setattr(Phantom, "_workers", lambda self, todo: 2)
    jobs = Phantom.jobs
    monkeypatch.setattr(Phantom, "jobs", lambda self, split: jobs(self, split)[::-1])
    threads = torch.get_num_threads()
    other = Phantom(TINY)
    calls: list[tuple[int, int, str]] = []
    other.prepare(lambda *call: calls.append(call))
    assert [done for done, _, _ in calls] == list(range(9))
    assert torch.get_num_threads() == threads
    assert contents(other) == expected


def test_a_missing_file_is_made_again(fresh: Phantom) -> None:
    before = contents(fresh)
    (fresh.cache() / "test000.npy").unlink()
    (fresh.cache() / "val000.json").unlink()
    calls: list[tuple[int, int, str]] = []
    fresh.prepare(lambda *call: calls.append(call))
    assert contents(fresh) == before
    assert calls[-1] == (7, 7, "heads")
    assert len(calls) == 3


def test_a_damaged_file_is_named_kept_and_made_again(fresh: Phantom) -> None:
    before = contents(fresh)
    victim = fresh.cache() / "train-real_low-000.npy"
    content = bytearray(victim.read_bytes())
    content[-7] ^= 4
    victim.write_bytes(content)
    (fresh.cache() / "val000.json").write_text('{"sha256": ')
    with pytest.warns(RuntimeWarning) as caught:
        fresh.prepare()
    text = " ".join(str(warning.message) for warning in caught)
    assert "train-real_low-000.npy" in text
    assert "val000.json" in text
    after = contents(fresh)
    assert after.pop("train-real_low-000.npy.corrupt") == bytes(content)
    assert after.pop("val000.json.corrupt") == b'{"sha256": '
    assert after == before


def test_leftovers_of_killed_runs_are_removed(fresh: Phantom) -> None:
    code = (
        "import os, sys; from pathlib import Path; from xbench.core.files import atomic\n"
        "with atomic(Path(sys.argv[1])) as part:\n"
        "    part.write_bytes(b'half'); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(fresh.cache() / "test000.npy")]
    subprocess.run(command, check=False, timeout=60)
    (dead,) = fresh.cache().glob(".*.part*")
    with atomic(fresh.cache() / "mine.npy") as alive:
        alive.write_bytes(b"half")
        fresh.prepare()
        assert alive.exists()
    assert not dead.exists()


def test_workers_end_with_their_parent() -> None:
    command = [sys.executable, "-m", "xbench.datasets.phantom.worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    worker.communicate(timeout=60)
    assert worker.returncode == 0


def test_unprepared_and_wrong_requests(
    tiny: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="train"):
        tiny.ids("train", "real_low")
    with pytest.raises(KeyError, match="real_lo"):
        tiny.train("real_lo")
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="has not been made"):
        Phantom(TINY).images("test", "real_low")


def test_profiles_and_key() -> None:
    for profile in PROFILES.values():
        config = Phantom.configure(profile)
        assert config.size == profile.size
        # Enough voxels for the pixels, each about 220 mm / size at the head.
        assert config.voxel_mm < 1.0 * 220 / config.size + 0.5
    quick = Phantom.configure(PROFILES["quick"])
    assert (quick.train_heads, quick.train_views, quick.test_heads) == (12, 16, 20)
    silent = quick.model_copy(update={"noise": False})
    assert Phantom(quick).key != Phantom(silent).key
    groups = Phantom(quick).domain_groups
    assert [groups[d] for d in Phantom(quick).domains] == ["synthetic"] * 2 + ["real"] * 3


def features(images: Tensor) -> Tensor:
    """Nine bands of the log power spectrum and two statistics of the Laplacian."""
    x = images.squeeze(1).double()
    power = torch.fft.fft2(x - x.mean(dim=(1, 2), keepdim=True)).abs().square()
    f = torch.fft.fftfreq(x.shape[-1])
    radius = (f[:, None] ** 2 + f[None, :] ** 2).sqrt()
    bands = [
        power[:, (radius > low) & (radius <= low + 0.055)].mean(dim=1).log()
        for low in np.arange(9) * 0.055
    ]
    core = x[:, 1:-1, 1:-1]
    laplacian = x[:, 2:, 1:-1] + x[:, :-2, 1:-1] + x[:, 1:-1, 2:] + x[:, 1:-1, :-2] - 4 * core
    return torch.stack([*bands, laplacian.abs().mean((1, 2)).log(), laplacian.std((1, 2)).log()], 1)


def test_domains_can_be_distinguished_on_unseen_heads(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XBENCH_HOME", str(shared))
    config = TINY.model_copy(
        update={"size": 128, "voxel_mm": 2.5, "train_heads": 0, "val_heads": 0, "test_heads": 6}
    )
    data = Phantom(config)
    data.prepare()
    x = torch.stack([features(data.images("test", domain)[:]) for domain in data.domains])
    fitted, held_out = x[:, :16], x[:, 16:]  # heads 0-3 and 4-5, four views each
    mean, std = fitted.mean(dim=(0, 1)), fitted.std(dim=(0, 1))
    weights = torch.zeros(x.shape[-1] + 1, 5, dtype=torch.float64, requires_grad=True)

    def scores(part: Tensor) -> Tensor:
        rows = ((part - mean) / std).flatten(0, 1)
        return rows @ weights[:-1] + weights[-1]

    labels = torch.arange(5).repeat_interleave(16)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(scores(fitted), labels)
        value = value + 1e-3 * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    found = scores(held_out).argmax(dim=1)
    assert (found == torch.arange(5).repeat_interleave(8)).double().mean() > 0.9
