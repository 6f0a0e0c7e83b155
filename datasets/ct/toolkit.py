"""SimpleITK, an optional package: imported on first use, kept from writing to the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from xbench.core.errors import UserError


def toolkit() -> ModuleType:
    """The module SimpleITK.

    Raises:
        UserError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError:
        raise UserError(
            "CT volumes cannot be read: SimpleITK is not installed",
            "expected: xbench with its extra `ct`",
            "try: pip install 'xbench-xray[ct]'",
        ) from None
    module: ModuleType = SimpleITK
    return module


@contextmanager
def quiet() -> Iterator[Any]:
    """SimpleITK without its warnings: what matters in them is checked and said in our words."""
    sitk = toolkit()
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield sitk
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def header(sitk: Any, path: Path) -> Any:
    """A reader that has read the header of a file, but no voxels.

    Raises:
        RuntimeError: SimpleITK cannot read it.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def element(reader: Any, key: str) -> str:
    """A header element (DICOM as `gggg|eeee`) without padding; empty if it is not there."""
    return str(reader.GetMetaData(key)).strip(" \0") if reader.HasMetaDataKey(key) else ""
