"""Archives of pictures that show views, in layouts that X-DigiSkull may have."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from xbench.core.profiles import get_profile
from xbench.datasets import registry
from xbench.datasets.folder import Folder
from xbench.datasets.importers.xdigiskull import images_folder
from xbench.datasets.index import Item, read_index

DOMAINS = ["synthetic_low", "synthetic_high", "real_low", "real_normal", "real_exposure"]
VIEWS, FRAMES = 6, 2


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder for each test."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))


def png(view: int, domain: str = "real_low", size: int = 40) -> bytes:
    """A picture of a view: the same shapes in all domains, in other grey values and grain."""
    shapes = ndimage.gaussian_filter(np.random.default_rng(view).random((size, size)), 3)
    shapes = (shapes - shapes.min()) / np.ptp(shapes)
    look = DOMAINS.index(domain)
    grain = np.random.default_rng([view, look]).normal(0, 0.02, (size, size))
    grey = np.clip(0.3 + 0.1 * look + 0.3 * shapes ** (1 + 0.3 * look) + grain, 0, 1)
    file = io.BytesIO()
    Image.fromarray(np.round(grey * 65535).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def layout(name_of: Callable[[str, int, int], str], frames: int = FRAMES) -> dict[str, bytes]:
    """Files of an archive: `name_of(domain, view, frame)` → picture."""
    return {
        name_of(domain, view, frame): png(frames * view + frame, domain)
        for domain in DOMAINS
        for view in range(VIEWS)
        for frame in range(frames)
    }


def nested(domain: str, view: int, frame: int) -> str:
    return f"X-DigiSkull/{domain.replace('_', '/')}/view{view:02d}/{frame:04d}.png"


def flat(domain: str, view: int, frame: int) -> str:
    kind, dose = domain.split("_")
    return f"{kind.title()}_{dose.title()}_view{view:02d}_{frame:04d}.png"


def mixed(domain: str, view: int, frame: int) -> str:
    return (nested if domain.startswith("real") else flat)(domain, view, frame)


def frame_numbers(domain: str, view: int, frame: int) -> str:
    return f"{domain}/{FRAMES * view + frame}.png"


def scrambled(domain: str, view: int, frame: int) -> str:
    number = np.random.default_rng([view, frame, DOMAINS.index(domain)]).integers(10**9)
    return f"{domain}/{number}.png"


def index() -> list[Item]:
    return read_index(images_folder() / "index.csv")


def by_split(items: list[Item]) -> dict[str, set[str]]:
    return {s: {i.group for i in items if i.split == s} for s in ("train", "val", "test")}


def open_dataset() -> Folder:
    kind = registry.get("xdigiskull")
    assert issubclass(kind, Folder)
    config = kind.configure(get_profile("smoke")).model_copy(update={"size": 40})
    dataset = kind(config)
    dataset.prepare()
    return dataset
