"""CT volumes of heads: any file and orientation gives the same head; what is no head is refused."""

import gzip
import runpy
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("SimpleITK", reason="needs the extra ct")
import SimpleITK as sitk

from xbench.core.errors import UserError
from xbench.datasets.ct import CtHead, find, load_head
from xbench.datasets.ct.calibration import parse
from xbench.datasets.ct.density import densities, surface
from xbench.datasets.phantom.anatomy import Variation
from xbench.datasets.phantom.volume import CORNER, SOLID_RHO, make_head

made = runpy.run_path(str(Path(__file__).with_name("stand_in_heads.py")))
HU = made["volume"]()
SIZE = made["VOXEL"]
NOISY = HU + np.random.default_rng(0).normal(0, 8, HU.shape)
Change = Callable[[Path], Any]


def load_all(folder: Path, voxel: float = 3.0, **how: Any) -> list[CtHead]:
    return [load_head(source, voxel=voxel, **how) for source in find(folder).sources]


def load(folder: Path, voxel: float = 3.0, **how: Any) -> CtHead:
    (head,) = load_all(folder, voxel, **how)
    return head


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> CtHead:
    folder = tmp_path_factory.mktemp("reference")
    made["save"](folder / "head.nii.gz", HU)
    return load(folder)


def same(a: CtHead, b: CtHead, atol: float = 1e-3) -> bool:
    return (
        np.allclose(a.corner, b.corner, atol=0.01)
        and a.cropped == b.cropped
        and all(
            getattr(a, c).shape == getattr(b, c).shape
            and torch.allclose(getattr(a, c), getattr(b, c), atol=atol)
            for c in ("bone", "soft", "solid")
        )
    )


def value(head: CtHead, x: float, y: float, z: float, channel: str = "bone") -> float:
    """A channel at a point in mm."""
    at = [int((p - c) // head.voxel) for p, c in zip((x, y, z), head.corner, strict=True)]
    return float(getattr(head, channel)[at[2], at[1], at[0]])


def center(head: CtHead, where: torch.Tensor) -> np.ndarray:
    """Mean place of voxels in mm (x, y, z)."""
    index = where.nonzero().double().mean(dim=0).flip(0).numpy()
    return (index + 0.5) * head.voxel + head.corner


def test_a_head_has_its_densities_at_their_place(reference: CtHead) -> None:
    head = reference
    assert head.bone.dtype == head.soft.dtype == head.solid.dtype == torch.float32
    assert head.cropped == ("bottom",)
    # The stand-in has its vertex at 117 mm and the middle of its width at 0, as the origin wants.
    ball = center(head, head.bone > 2.0)
    assert ball == pytest.approx(made["BALL"], abs=2.5)
    assert value(head, 0, 0, 40) == 0
    assert value(head, 0, 0, 40, "soft") == pytest.approx(1.02, abs=0.01)
    assert value(head, 0, 70, -8, "soft") == 0
    assert value(head, -66, 2, 45) == pytest.approx(1.92 * 1000 / 1424, abs=0.1)
    assert value(head, -66, 2, 45, "solid") == pytest.approx(SOLID_RHO, abs=0.03)
    assert value(head, 0, 0, 40, "solid") == 0


@pytest.mark.parametrize("name", ["a.nii", "sub/b.NII.GZ", "c.nrrd", "d.mha", "e.mhd", "f.nhdr"])
def test_every_format_gives_the_same_head(tmp_path: Path, name: str, reference: CtHead) -> None:
    path = made["save"](tmp_path / name.lower(), HU)
    path.rename(tmp_path / name)
    assert not find(tmp_path).left_out
    assert same(load(tmp_path), reference)


@pytest.mark.parametrize("axes", ["RAS", "LPI", "LAS", "ASL", "IPR"])
def test_stored_axes_do_not_matter(tmp_path: Path, axes: str, reference: CtHead) -> None:
    made["save"](tmp_path / "head.nrrd", HU, axes=axes)
    assert same(load(tmp_path), reference)


def test_a_dicom_series_is_sorted_and_rescaled(tmp_path: Path, reference: CtHead) -> None:
    folder = made["save_series"](tmp_path / "patient/ct", HU)
    (folder / "notes.txt").write_text("seen")
    found = find(tmp_path)
    assert [source.name for source in found.sources] == ["patient-ct"]
    assert found.left_out == {"files that are no volumes": ["patient/ct/notes.txt"]}
    assert "1 files that are no volumes: patient/ct/notes.txt" in found.lines()[0]
    assert same(load(tmp_path), reference)


def test_oblique_and_tilted_slices_become_upright(tmp_path: Path, reference: CtHead) -> None:
    direction = made["turned"]((12.0, -9.0))
    hu, first = made["oblique"](direction)
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    image.SetSpacing([SIZE] * 3)
    image.SetOrigin(first.tolist())
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "oblique.mha"))
    tilted = made["turned"]((0.0, 0.0), tilt=15.0)
    hu, _ = made["oblique"](tilted)
    made["save_series"](tmp_path / "tilted", hu, direction=tilted)
    for head in load_all(tmp_path):
        assert center(head, head.bone > 2.0) == pytest.approx(made["BALL"], abs=4)
        assert center(head, head.bone > 0.3)[:2] == pytest.approx(
            center(reference, reference.bone > 0.3)[:2], abs=2
        )
        # The same head in the whole: its skull's mass above the ear canals.
        masses = [h.bone[int(-h.corner[2] / 3) :].sum() for h in (head, reference)]
        assert float(masses[0]) == pytest.approx(float(masses[1]), rel=0.03)


def test_the_table_goes_and_the_head_stays(tmp_path: Path, reference: CtHead) -> None:
    made["save"](tmp_path / "head.nrrd", made["volume"](table=True))
    head = load(tmp_path)
    behind = max(0, int((-100 - head.corner[1]) / 3))
    assert head.bone[:, :behind].sum() == 0
    assert head.soft[:, :behind].sum() == 0
    assert float((head.soft.sum() - reference.soft.sum()).abs()) < 1e-3 * float(head.soft.sum())


def test_mass_is_the_same_at_any_voxel_size(tmp_path: Path, reference: CtHead) -> None:
    made["save"](tmp_path / "head.nrrd", HU)
    for voxel in (1.5, 6.0):
        head = load(tmp_path, voxel)
        for channel in ("bone", "soft", "solid"):
            mass = getattr(head, channel).double().sum() * voxel**3
            expected = getattr(reference, channel).double().sum() * 27
            assert float(mass) == pytest.approx(float(expected), rel=0.02)


@pytest.mark.parametrize(
    ("side", "cut"),
    [
        ("top", {"high": (100, 130, 90)}),
        ("left", {"high": (45, 130, 135)}),
        ("front", {"high": (100, 60, 135)}),
        ("back", {"low": (-100, -70, -90)}),
    ],
)
def test_cut_sides_are_declared(tmp_path: Path, side: str, cut: dict[str, Any]) -> None:
    made["save"](tmp_path / "head.nrrd", made["volume"](**cut))
    head = load(tmp_path)
    assert set(head.cropped) == {side, "bottom"}
    if side == "top":  # the height then comes from the base of the skull: less exact
        assert center(head, head.bone > 2.0)[2] == pytest.approx(60, abs=25)
        assert any("base" in note for note in head.notes)


def test_the_phantom_as_a_ct_lies_where_the_phantom_lies(tmp_path: Path) -> None:
    head = make_head(Variation(3, wide=False), 3.0)
    bone, soft = head.bone.data[0], head.soft.data[1]
    soft = torch.nn.functional.interpolate(soft[None, None], bone.shape, mode="trilinear")[0, 0]
    hu = torch.where(bone > 0.1, 100 + bone / 1.92 * 1424, soft * 1000 - 1000).numpy()
    made["save"](
        tmp_path / "phantom.mha", np.pad(hu, ((0, 4), (4, 4), (4, 4)), constant_values=-1000)
    )
    result = load(tmp_path)
    dense = (bone > 0.4).nonzero().double().mean(dim=0).flip(0).numpy()
    expected = (dense + 0.5) * 3 + head.bone.corner
    assert center(result, result.bone > 0.4)[:2] == pytest.approx(expected[:2], abs=4)
    assert center(result, result.bone > 0.4)[2] == pytest.approx(expected[2], abs=8)


def test_a_tall_volume_ends_where_the_phantom_ends(tmp_path: Path) -> None:
    made["save"](tmp_path / "neck.nrrd", made["volume"](low=(-100, -130, -260)))
    head = load(tmp_path)
    assert head.corner[2] == pytest.approx(CORNER[2], abs=3.5)
    assert "bottom" in head.cropped


def test_density_rises_with_hu() -> None:
    hu = np.arange(-1000, 3072, dtype=np.float32)
    bone, soft = densities(hu)
    assert (np.diff(bone) >= 0).all()
    assert (np.diff((bone + soft)[hu >= -890]) > 0).all()
    assert (bone.min(), soft.min()) >= (0, 0)
    assert bone[hu == 1500] == pytest.approx(1.89, abs=0.01)
    assert soft[hu == 0] == 1


def test_a_surface_loses_what_is_thinner_than_two_millimetres() -> None:
    for thick, kept in ((1.0, False), (1.6, False), (2.6, True), (6.0, True)):
        plate = np.full((30, 30, 120), 40, np.float32)
        half = round(thick / 0.2 / 2)
        plate[:, :, 60 - half : 60 + half] = 1200
        share = surface(plate, (1.0, 1.0, 0.2))
        assert (share[15, 15].max() > 0.5) == kept
    assert share[15, 15].sum() * 0.2 == pytest.approx(6.0, abs=0.2)


def test_raw_values_are_calibrated(tmp_path: Path, reference: CtHead) -> None:
    raw = HU + 1024
    raw[:, :3], raw[:, -3:] = 0, 0  # outside the round field of the scanner
    made["save"](tmp_path / "raw.nrrd", raw)
    with pytest.raises(UserError, match=r"no Hounsfield units(.|\n)*data.hu=raw=24:-1000,\d+:40"):
        load(tmp_path)
    assert same(load(tmp_path, hu="0:-1024,1024:0"), reference)
    assert same(load(tmp_path, hu="other=0:0,1:1;ra*=0:-1024,1024:0,2048:1024"), reference)
    # Two points in tissue and bone: the air is found.
    assert same(load(tmp_path, hu="1059:35,2124:1100"), reference, atol=0.03)
    with pytest.raises(UserError, match="no Hounsfield units with hu=500:-50,1150:600"):
        load(tmp_path, hu="500:-50,1150:600")


@pytest.mark.parametrize("text", ["1:2", "a:b,c:d", "1:2,1:3", "1:5,2:3", "0:0,1:nan", "1,2"])
def test_an_unreadable_calibration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"hu=.*cannot be read"):
        parse(text)


def _nifti_spacing(path: Path, side: float) -> None:
    made["save"](path / "bad.nii.gz", HU)
    data = bytearray(gzip.decompress((path / "bad.nii.gz").read_bytes()))
    data[80:84] = struct.pack("<f", side)
    (path / "bad.nii.gz").write_bytes(gzip.compress(bytes(data), 1))


def _float(path: Path, hu: np.ndarray) -> None:
    sitk.WriteImage(made["image"](hu.astype(np.float32)), str(path / "bad.nrrd"))


def _set(hu: np.ndarray, where: Any, to: float) -> np.ndarray:
    hu = hu.copy()
    hu[where] = to
    return hu


def _drop(path: Path, count: int) -> None:
    files = sorted(
        made["save_series"](path / "s", HU).iterdir(),
        key=lambda f: float(element_of(f, "0020|0032").split("\\")[2]),
    )
    for file in files[30 : 30 + count]:
        file.unlink()


def element_of(path: Path, key: str) -> str:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader.GetMetaData(key)


def _two_series(path: Path) -> None:
    made["save_series"](path / "s", HU, SeriesDescription="Bone 1.0")
    other = made["save_series"](path / "t", HU[::2], (3, 3, 6), SeriesDescription="Brain 5.0")
    for file in other.iterdir():
        file.rename(path / "s" / f"x{file.name}")


def _one_study(path: Path) -> None:
    for name in "ab":
        made["save_series"](path / name, HU, StudyInstanceUID="1.2.3.4.5")


def _same_position(path: Path) -> None:
    def twice(k: int, header: Any) -> None:
        header.ImagePositionPatient = [0, 0, 3 * (k // 2)]

    made["save_series"](path / "s", HU, change=twice)


def _vector(path: Path) -> None:
    colour = sitk.GetImageFromArray(np.zeros((40, 40, 40, 3), np.uint8), isVector=True)
    sitk.WriteImage(colour, str(path / "bad.nrrd"))


def _cube(path: Path) -> None:
    """A body without a skull: a trunk with a spine and ribs."""
    x, y = np.mgrid[-100:100:3, -130:130:3]
    trunk = np.full((*x.shape, 70), -1000, np.float32)
    trunk[(x / 80) ** 2 + (y / 110) ** 2 < 1] = 40
    trunk[(x + 50) ** 2 + y**2 < 400] = 800
    made["save"](path / "bad.nrrd", trunk.transpose(2, 0, 1))


REFUSED: dict[str, tuple[Change, str]] = {
    "no spacing": (lambda p: _nifti_spacing(p, 0.0), "measure 0 × 3 × 3 mm"),
    "spacing nan": (lambda p: _nifti_spacing(p, float("nan")), "measure nan"),
    "tiny": (lambda p: made["save"](p / "a.nrrd", HU, (1e-6, 3, 3)), "measure 1e-06"),
    "huge": (lambda p: made["save"](p / "a.mha", HU, (1000, 1000, 1000)), "1000 × 1000 × 1000"),
    "child's play": (lambda p: made["save"](p / "a.mha", HU, (1, 1, 1)), "no head.*17 cm2"),
    "giant": (lambda p: made["save"](p / "a.mha", HU, (5, 5, 5)), "no head.*431 cm2"),
    "body": (lambda p: made["save"](p / "a.mha", HU, (3, 3, 10)), "too large for a head"),
    "nan": (lambda p: _float(p, _set(HU, (5, 5, 5), np.nan)), "1 of .* not finite"),
    "inf": (lambda p: _float(p, _set(HU, (5, 5, 5), np.inf)), "not finite"),
    "hole": (lambda p: made["save"](p / "a.mha", _set(HU, slice(30, 33), 0)), "3 holes"),
    "three slices": (lambda p: made["save"](p / "a.mha", HU[40:43], (3, 3, 30)), "too small"),
    "thin": (lambda p: made["save"](p / "a.mha", HU[40:56]), "too small for a head.*48 mm"),
    "no bone": (lambda p: made["save"](p / "a.mha", np.minimum(HU, 60)), "no head.*bone"),
    "no skull": (_cube, "no head"),
    "no air": (lambda p: made["save"](p / "a.mha", NOISY[20:55, 30:55, 20:47]), "no air"),
    "8 bits": (
        lambda p: made["save"](p / "a.mha", np.clip(HU / 10 + 100, 0, 255)),
        "span 8 bits(.|\n)*hu=a=0:-1000",
    ),
    "not HU": (lambda p: made["save"](p / "a.mha", HU * 2 + 4000), "no Hounsfield units"),
    "upside down": (lambda p: made["save"](p / "a.mha", HU[::-1, ::-1]), "upside down"),
    "mirrored up": (lambda p: made["save"](p / "a.mha", HU[::-1]), "upside down, if"),
    "back to front": (lambda p: made["save"](p / "a.mha", HU[:, ::-1, ::-1]), "back to front"),
    "missing slice": (lambda p: _drop(p, 1), "missing: 6.00 mm lie between"),
    "missing slices": (lambda p: _drop(p, 4), "missing: 15.00 mm"),
    "two series": (_two_series, r"2 DICOM series.*(Bone 1.0|Brain 5.0).*(Bone 1.0|Brain 5.0)"),
    "one study": (_one_study, "the same head twice"),
    "one position": (_same_position, "at one position"),
    "colour": (_vector, "no single volume"),
    "damaged": (lambda p: (p / "a.nii.gz").write_bytes(b"no volume"), "cannot be read"),
    "MR": (lambda p: made["save_series"](p / "s", HU, Modality="MR"), "no CT volumes(.|\n)*MR"),
    "nothing": (lambda p: (p / "a.txt").write_text("-"), "no CT volumes(.|\n)*1 files.*a.txt"),
    "one name": (
        lambda p: [made["save"](p / f"a.{e}", HU) for e in ("mha", "nrrd")],
        "two volumes .* have the name 'a'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused(tmp_path: Path, case: str) -> None:
    make, phrase = REFUSED[case]
    make(tmp_path)
    with pytest.raises(UserError, match=phrase) as refused:
        load_all(tmp_path, 4.0)
    assert len(str(refused.value).splitlines()) == 3


def test_a_wrong_header_is_overruled(tmp_path: Path, reference: CtHead) -> None:
    made["save"](tmp_path / "a.mha", HU[::-1, ::-1])
    with pytest.raises(UserError, match="upside down") as refused:
        load(tmp_path)
    better = str(refused.value).split("data.orientation=a=")[1][:3]
    assert same(load(tmp_path, orientation=f"a={better}"), reference)
    with pytest.raises(UserError, match="orientation 'LLS' cannot be read"):
        load(tmp_path, orientation="LLS")
    # As stored, said so by the user: no further question.
    assert not same(load(tmp_path, orientation="LPS"), reference)


def test_a_file_without_position_gets_a_note(tmp_path: Path, reference: CtHead) -> None:
    hu = made["volume"]((1.0,) * 3, (-90, -115, -60), (90, 110, 130))[:, ::-1]
    image = sitk.GetImageFromArray(np.ascontiguousarray(hu).astype(np.int16))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    assert any("does not say where" in note for note in load(tmp_path).notes)
    assert not any("does not say where" in note for note in reference.notes)


def test_without_simpleitk_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made["save"](tmp_path / "a.mha", HU)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r"pip install 'xbench-xray\[ct\]'"):
        load(tmp_path)


def test_real_heads_are_upright(real_set: Callable[[str], Path]) -> None:
    real = real_set("headct")
    sources = {source.name: source for source in find(real).sources}
    # The template is in Cormack units (Rorden et al., NeuroImage 61, 2012).
    template = load_head(
        sources["scct_template_2mm"], voxel=3.0, hu="0:-1024,900:-124,3100:76,4100:1076"
    )
    assert template.cropped == ("bottom",)
    assert value(template, 0, 0, 60, "soft") == pytest.approx(1.02, abs=0.03)
    # HU + 1024, air a little higher; the header has the head upside down and back to front.
    file = sources["vtk_headsq_quarter"]
    with pytest.raises(UserError, match="upside down and back to front"):
        load_head(file, voxel=3.0, hu="102:-1000,1085:40")
    head = load_head(file, voxel=3.0, hu="102:-1000,1085:40", orientation="RPI")
    assert set(head.cropped) == {"bottom", "top"}
    # Teeth, denser than any bone, are at the front and below.
    teeth = center(head, head.bone > 2.1)
    assert teeth[1] > 30
    assert -90 < teeth[2] < -20
    with pytest.raises(UserError, match="no Hounsfield units"):
        load_head(file, voxel=3.0)
