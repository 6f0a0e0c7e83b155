"""Feature extractors: what turns images into the vectors that distances compare.

A user's extractor is a file. `FILE.py:callable` is the user's own code, run with their rights and
imported only when they name it. `FILE.pt` is a TorchScript archive: loading and calling it
executes TorchScript alone, never Python from the file (a pickled module, which could, is refused).
"""

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from xbench.core import outside
from xbench.core.errors import UserError, unknown
from xbench.core.hashing import file_digest
from xbench.core.names import quoted
from xbench.metrics.images import check_images
from xbench.metrics.torchscript import load_torchscript

Compute = Callable[[Tensor], Tensor]

_EXPECTED = "expected: a function that maps a float32 Tensor [B, 1, H, W] in [0, 1] to [B, d]"
_FORMS = "FILE.py:callable, FILE.pt (TorchScript)"


@dataclass(frozen=True)
class Extractor:
    """A feature extractor, ready on a device.

    Attributes:
        name: `texture`, `inception`, `clip`, or the name of the user's file (and callable).
        version: goes into the identities of the metrics that rest on it; of a user's extractor it
            contains 12 digits of the file's SHA-256, and knows nothing of what the file imports.
        device: where it computes; equal features are promised per kind of device.
        compute: the function behind `features`.
    """

    name: str
    version: str
    device: torch.device
    compute: Compute = field(repr=False)

    @property
    def key(self) -> str:
        """Version and kind of device: what equal features can be expected of, a folder's name."""
        kind = self.device.type
        return self.version if kind == "cpu" else f"{self.version}-{kind}"

    def features(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: floating point [B, 1, H, W] in [0, 1]; they are not changed.

        Returns:
            [B, d], finite, float64 on the CPU.

        Raises:
            ValueError: the images are not as they should be.
            UserError: a user's extractor failed or did not return finite numbers [B, d].
        """
        return self.compute(images).detach().double().cpu()


def load(name_or_file: str, device: torch.device | str = "cpu") -> Extractor:
    """The extractor called `texture`, `inception` or `clip`, or a user's own.

    Args:
        name_or_file: a name, `FILE.py:callable` or `FILE.pt`. Both kinds of file must map images
            float32 [B, 1, H, W] in [0, 1], which lie on `device`, to any [B, d] of a float type,
            each image by itself. A callable that is a `torch.nn.Module` is moved to the device and
            set to evaluation.
        device: where it computes (`texture`: always the CPU).

    Raises:
        Unavailable: weights are missing and not fetched.
        UserError: no such name or file, or the file cannot be loaded.
    """
    place = torch.device(device)
    if name_or_file in BUILT_IN:
        return BUILT_IN[name_or_file](place)
    location, _, attribute = name_or_file.rpartition(":")
    if location.endswith(".py"):
        return _from_python(_file(location), attribute, place)
    if name_or_file.endswith(".pt"):
        return _from_torchscript(_file(name_or_file), place)
    if name_or_file.endswith(".py"):
        raise UserError(
            f"{name_or_file} names a file but not what to call in it",
            f"expected: one of {', '.join(BUILT_IN)}, {_FORMS}",
            f"try: --extractor {quoted(name_or_file)}:features",
        )
    raise unknown(
        "feature extractor",
        name_or_file,
        [*BUILT_IN, *_FORMS.split(", ")],
        "try: --extractor texture",
    )


def _texture(_: torch.device) -> Extractor:
    from xbench.metrics.texture import descriptors

    return Extractor("texture", "texture-v1", torch.device("cpu"), descriptors)


def _inception(device: torch.device) -> Extractor:
    from xbench.metrics.inception import InceptionExtractor

    network = InceptionExtractor.load(device)
    return Extractor("inception", "inception-clean-v1", device, network.features)


def _clip(device: torch.device) -> Extractor:
    from xbench.metrics.clip import ClipExtractor

    network = ClipExtractor.load(device)
    return Extractor("clip", "clip-b32-v1", device, network.features)


def _clip_l336(device: torch.device) -> Extractor:
    from xbench.metrics.clip import CMMD, ClipExtractor

    network = ClipExtractor.load(device, CMMD)
    return Extractor("clip_l336", "clip-l14-336-v1", device, network.features)


#: Name → what loads the extractor onto a device.
BUILT_IN: dict[str, Callable[[torch.device], Extractor]] = {
    "texture": _texture,
    "inception": _inception,
    "clip": _clip,
    "clip_l336": _clip_l336,
}


def _file(location: str) -> Path:
    path = Path(location).expanduser()
    if not path.is_file():
        raise UserError(
            f"there is no file {location}",
            f"expected: one of {', '.join(BUILT_IN)}, {_FORMS}",
            f"try: ls {quoted(path.parent)}",
        )
    return path


def _own(
    path: Path, attribute: str, device: torch.device, function: Compute, content: str
) -> Extractor:
    """An extractor around what a user's file holds, of which `content` is the hash."""
    name = re.sub(r"[^\w.-]", "_", f"{path.stem}.{attribute}" if attribute else path.stem)
    where = f"{path}:{attribute}" if attribute else str(path)
    version = f"{name}-{content[:12]}"
    return Extractor(name, version, device, _checked(function, where, device))


def _from_python(path: Path, attribute: str, device: torch.device) -> Extractor:
    """An extractor from a module that the user named."""
    path = path.resolve()
    try:
        module = outside.load(path, outside.version(path))
    except (Exception, SystemExit) as error:  # a script that ends itself must not end this program
        raise UserError(
            f"{path} does not import: {_one_line(error)}",
            "expected: a Python module that imports",
            f"try: {shlex.join([sys.executable, str(path)])}",
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function) or isinstance(function, type):
        own = [
            key for key, value in vars(module).items() if _is_own_callable(value, module.__name__)
        ]
        raise unknown(
            f"function in {path}",
            attribute,
            own,
            "try: --extractor " + quoted(f"{path}:{(*own, 'NAME')[0]}"),
        )
    if isinstance(function, nn.Module):
        function = function.to(device).eval()
    return _own(path, attribute, device, function, outside.version(path))


def _is_own_callable(value: object, module: str) -> bool:
    """Whether a value is a function or module object that the user's file itself makes."""
    if isinstance(value, type):
        return False
    return isinstance(value, nn.Module) or (
        callable(value) and getattr(value, "__module__", None) == module
    )


def _from_torchscript(path: Path, device: torch.device) -> Extractor:
    """An extractor from a TorchScript archive."""
    try:
        network = load_torchscript(path, device)
    except RuntimeError as error:
        raise UserError(
            f"{path} is not a TorchScript archive",
            "expected: a file written by torch.jit.script(module).save(FILE)",
            f"try: torch.jit.script(module).save('{path}') where torch.save was used",
        ) from error
    return _own(path, "", device, network, file_digest(path))


def _checked(function: Compute, where: str, device: torch.device) -> Compute:
    """A user's function, with errors and wrong results reported by the name of its file."""

    @torch.no_grad()
    def compute(images: Tensor) -> Tensor:
        check_images(images, 1, where)
        shape = list(images.shape)
        try:
            # A copy: what the user's code does to it in place stays there.
            found: object = function(images.to(device, torch.float32, copy=True))
        except Exception as error:
            raise UserError(
                f"{where} failed on images {shape}: {_one_line(error)}",
                _EXPECTED,
                f"try: call it on torch.rand({', '.join(map(str, shape))}) in Python",
            ) from error
        wrong = _fault(found, len(images))
        if wrong or not isinstance(found, Tensor):
            raise UserError(
                f"{where} returned {wrong} for images {shape}",
                _EXPECTED,
                f"try: print what it returns for torch.rand({', '.join(map(str, shape))})",
            )
        return found

    return compute


def _fault(found: object, count: int) -> str | None:
    """What is wrong with the features of `count` images, if anything."""
    if not isinstance(found, Tensor):
        return f"a {type(found).__module__}.{type(found).__qualname__}"
    if found.ndim != 2 or len(found) != count or not found.shape[1]:
        return f"the shape {list(found.shape)}"
    if not found.is_floating_point():
        return f"{found.dtype} numbers"
    return None if found.isfinite().all() else "values that are not finite"


def _one_line(error: BaseException) -> str:
    """Kind and text of an error, in one line of bearable length."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else text[:199] + "…"
