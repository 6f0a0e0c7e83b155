"""Folders of image files: found by name, read as 16-bit greys."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from xbench.core.errors import UserError
from xbench.core.names import plain, quoted
from xbench.core.pixels import Pixels, to_pixels
from xbench.core.processes import cores
from xbench.datasets.decode import SUFFIXES, Undecodable, is_image, read, stem
from xbench.datasets.prepare import LEAST_SIDE, normalise
from xbench.datasets.walk import is_junk

Location = str | Path


_READABLE = ", ".join(sorted(suffix.lstrip(".") for suffix in SUFFIXES))


def image_files(folder: Path) -> dict[str, Path]:
    """Image files by their names without endings, in order of the names.

    Hidden files and files of operating systems are skipped; links to files are followed.

    Raises:
        UserError: there is no such folder, it is empty, holds something that is no image, or two
            files of one name.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}",
            f"expected: a folder of images ({_READABLE})",
            f"try: ls {quoted(folder.parent)}",
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_junk(path.name):
            continue
        if (path.exists() and not path.is_file()) or not is_image(path):
            raise UserError(
                f"{path} is no image",
                f"expected: nothing but images in {folder} ({_READABLE})",
                f"try: mv {quoted(path)} SOMEWHERE_ELSE",
            )
        name = plain(stem(path.name))
        if name in found:
            raise UserError(
                f"{found[name]} and {path} have one name",
                "expected: one file for each name, whatever its ending",
                f"try: mv {quoted(path)} SOMEWHERE_ELSE",
            )
        found[name] = path
    if not found:
        raise UserError(
            f"there are no images in {folder}",
            f"expected: files that can be read ({_READABLE})",
            f"try: ls -a {quoted(folder)}",
        )
    return dict(sorted(found.items()))


def read_images(paths: Sequence[Path]) -> list[Pixels]:
    """Grey values of image files, uint16 `[H, W]` each.

    Raises:
        UserError: a file cannot be used; it names the first.
    """
    with ThreadPoolExecutor(cores()) as pool:  # Pillow decodes without holding the GIL
        return list(pool.map(_read_image, paths))


def size_of(image: Pixels) -> str:
    """Height and width of an image, for messages."""
    return f"{image.shape[0]} x {image.shape[1]}"


def _read_image(path: Path) -> Pixels:
    try:
        grey = normalise(read(path), None, invert=False)
        if min(grey.shape) < LEAST_SIDE:
            height, width = grey.shape
            raise Undecodable(f"has {height} x {width} pixels, at least {LEAST_SIDE} are needed")
    except Undecodable as error:
        # The advice to set `window` in dataset.toml does not apply here.
        reason = str(error).partition(": set window")[0]
        raise UserError(
            f"{path} {reason}",
            "expected: a whole image, grey or RGB, of 8 or 16 bits, or floating point in [0, 1]",
            "save it as a PNG with 16 bits of grey, for example",
        ) from error
    pixels: Pixels = to_pixels(torch.from_numpy(grey)[None, None])[0]
    return pixels
