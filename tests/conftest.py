"""A world of its own for every test session: no network, an empty cache, smoke-sized runs."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from xbench.cli import main
from xbench.core.processes import cores


@dataclass
class Result:
    code: int
    out: str
    err: str


Xbench = Callable[..., Result]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Give the whole suite all cores, and a few files this process, which starts sooner.

    Plain `pytest` is `pytest -n CORES+1 --dist worksteal`, where pytest-xdist is: files stay
    together until a process has run out of tests, and one waits for a disk or for processes of its
    own while others work. Files, `-m gpu` and `--benchmark-enable` stay in one process; `-n` says
    otherwise.
    """
    option = config.option
    alone = any(".py" in name for name in config.args) or option.markexpr == "gpu"
    alone = alone or getattr(option, "benchmark_enable", False)
    worker = hasattr(config, "workerinput")
    if getattr(option, "numprocesses", 0) is None and not (alone or worker or option.usepdb):
        option.numprocesses, option.dist = cores() + 1, "worksteal"


@pytest.fixture(scope="session", autouse=True)
def _world(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[None]:
    """One cache folder for the session: the smoke phantom is rendered once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("XBENCH_OFFLINE", "1")
        on_gpu = pytestconfig.getoption("markexpr") == "gpu"
        if not (on_gpu or pytestconfig.getoption("benchmark_enable", False)):
            patch.setattr(torch.cuda, "is_available", lambda: False)  # `auto` is the CPU
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture
def xbench(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Xbench:
    """The command line, run in an empty folder: `xbench("run", "--method", "identity")`."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Result(int(stopped.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished smoke run of two methods; tests must not change it."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                *("run", "--method", "medshift,histogram", "--profile", "smoke"),
                *("--set", "budget.images=64", "--out", str(out)),
            ]
        )
    assert not stopped.value.code
    return out / "phantom" / "smoke"


@pytest.fixture
def real_set() -> Callable[[str], Path]:
    """Real images by name, in `XBENCH_REAL` or in `shared/real` beside the checkout; else a skip.

    They are not part of the project.
    """
    beside = Path(__file__).parents[2] / "shared" / "real"
    root = Path(os.environ.get("XBENCH_REAL", beside))

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"no real images in {root / name} (set XBENCH_REAL)")
        return root / name

    return find


@pytest.fixture
def save_dicom() -> Callable[..., Path]:
    """Writes DICOM files: `save_dicom(path, pixels, PhotometricInterpretation="MONOCHROME1")`."""
    return _save_dicom


def _save_dicom(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    """Write 12 bits in 16, as a detector has them; elements are changed, or deleted by None."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = elements.pop("syntax", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.PatientName = "Doe^Jane"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PhotometricInterpretation = "MONOCHROME2"
    header.PixelData = pixels.astype(np.uint16).tobytes()
    for name, value in elements.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)
    return path
