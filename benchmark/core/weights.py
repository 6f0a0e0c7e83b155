"""Weights of pretrained networks: fetched once, checked at every use.

They lie in the folder `weights` of `XBENCH_HOME`, fetched by pooch or placed there by hand.
`XBENCH_OFFLINE=1` (or true, yes, on) forbids fetching. `XBENCH_WEIGHTS_URL` names a mirror: an
address below which the files lie as in that folder, so that one machine can serve its `weights`
folder to others.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xbench.core.errors import Unavailable, UserError, unknown
from xbench.core.files import atomic, home, set_aside
from xbench.core.hashing import file_digest

#: Called with (bytes done, bytes in all, file) while a file is fetched.
Progress = Callable[[int, int, str], None]

FOLDER = "weights"
# No absolute path: the lines are stored in records and printed under published tables.
_BY_HAND = f"place it in the folder '{FOLDER}' of the cache"
_AGAIN = _BY_HAND + ", or try again: xbench fetch {}"
_CONNECT_SECONDS = 5
_READ_SECONDS = 30


@dataclass(frozen=True)
class Weight:
    """One file of pretrained weights.

    Attributes:
        name: what `xbench fetch` calls the network that the file belongs to.
        file: its path below the weights folder and below a mirror.
        url: its official address.
        sha256: hash that it must have, wherever it came from.
        licence: terms under which it is published.
        bytes: its size.
        about: what it is and which metrics use it.
    """

    name: str
    file: str
    url: str
    sha256: str
    licence: str
    bytes: int
    about: str

    @property
    def path(self) -> Path:
        """Where it lies in the cache, or belongs."""
        return home() / FOLDER / self.file

    def mismatch(self, path: Path) -> str:
        """How the hash of a file differs from the one that it must have; empty if it does not."""
        sha256 = file_digest(path)
        return "" if sha256 == self.sha256 else f"{sha256[:8]}… instead of {self.sha256[:8]}…"


_VAE = (
    "https://huggingface.co/stabilityai/sd-vae-ft-mse/resolve/"
    "31f26fdeee1355a5c34592e401dd41e45d25a493"
)

#: Network → its files. Hashes and sizes as published: Inception's by crowsonkb/k-diffusion
#: (k_diffusion/evaluation.py), CLIP's in its own address, the VAE's by the hub.
WEIGHTS: dict[str, tuple[Weight, ...]] = {
    "inception": (
        Weight(
            "inception",
            "inception-2015-12-05.pt",
            # As in cleanfid/downloads_helper.py; StyleGAN2-ADA published the file there.
            "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
            "inception-2015-12-05.pt",
            "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
            "Apache-2.0 (network), NVIDIA Source Code License (TorchScript wrapper)",
            95_607_719,
            "Inception network of 2015 in TorchScript: fid, cfid, kid",
        ),
    ),
    "clip": (
        Weight(
            "clip",
            "ViT-B-32.pt",
            "https://openaipublic.azureedge.net/clip/models/"
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
            "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            "MIT",
            353_976_522,
            "OpenAI's CLIP ViT-B/32 in TorchScript: clip_fid, clip_cfid",
        ),
    ),
    "clip_l336": (
        Weight(
            "clip_l336",
            "ViT-L-14-336px.pt",
            "https://openaipublic.azureedge.net/clip/models/"
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt",
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
            "MIT",
            934_088_680,
            "OpenAI's CLIP ViT-L/14 at 336 px in TorchScript: cmmd",
        ),
    ),
    "lpips": (
        Weight(
            "lpips",
            "lpips/alexnet-owt-7be5be79.pth",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            "BSD-3-Clause",
            244_408_911,
            "torchvision's AlexNet: lpips",
        ),
        Weight(
            "lpips",
            "lpips/alex.pth",
            "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/alex.pth",
            "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
            "BSD-2-Clause",
            6_009,
            "heads of LPIPS 0.1 on AlexNet: lpips",
        ),
    ),
    "vae": (
        Weight(
            "vae",
            "sd-vae-ft-mse/config.json",
            f"{_VAE}/config.json",
            "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e",
            "MIT",
            547,
            "Stable Diffusion's autoencoder (stabilityai/sd-vae-ft-mse): its configuration",
        ),
        Weight(
            "vae",
            "sd-vae-ft-mse/diffusion_pytorch_model.safetensors",
            f"{_VAE}/diffusion_pytorch_model.safetensors",
            "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
            "MIT",
            334_643_276,
            "Stable Diffusion's autoencoder (stabilityai/sd-vae-ft-mse): its weights",
        ),
    ),
}


def path_of(name: str) -> Path:
    """Where the weights of a network belong: a file, or the folder of several files.

    Raises:
        UserError: there are no weights of that name.
    """
    first, *others = _files(name)
    return first.path.parent if others else first.path


def obtain(name: str, progress: Progress | None = None) -> Path:
    """Check the weights of a network, and fetch what is missing.

    A file with another hash is never used: it is renamed to `NAME.corrupt`, whether it was fetched
    or placed by hand, and the next call fetches it again.

    Args:
        name: `inception`, `clip` or `vae`.
        progress: called while a file is fetched.

    Returns:
        What `path_of` returns.

    Raises:
        Unavailable: a file could not be fetched or has another hash; one line that names it.
        UserError: there are no weights of that name.
    """
    for weight in _files(name):
        try:
            if weight.path.exists():
                _check(weight)
            else:
                _fetch(weight, progress)
        except (OSError, ValueError) as error:  # ValueError: the mirror's address is no URL
            raise Unavailable(
                f"{weight.file} not fetched ({_short(error)}): {_AGAIN.format(weight.name)}"
            ) from error
    return path_of(name)


def problem(name: str) -> str | None:
    """Why the weights of a network cannot be used as they are, in one line; None if they can.

    Nothing is fetched or changed.

    Raises:
        UserError: there are no weights of that name.
    """
    for weight in _files(name):
        if not weight.path.is_file():
            if offline():
                return _missing_offline(weight)
            return f"{weight.file} is missing; fetched on first use, or by: xbench fetch {name}"
        if difference := weight.mismatch(weight.path):
            return f"{weight.file} is another file ({difference})"
    return None


def absent(name: str) -> bool:
    """Whether nothing of a network's weights is here, not even a damaged file set aside.

    Raises:
        UserError: there are no weights of that name.
    """
    places = [weight.path for weight in _files(name)]
    asides = [path.with_name(path.name + ".corrupt") for path in places]
    return not any(path.exists() for path in places + asides)


def _files(name: str) -> tuple[Weight, ...]:
    if name not in WEIGHTS:
        raise unknown(
            "network with weights", name, WEIGHTS, f"try: xbench fetch {next(iter(WEIGHTS))}"
        )
    return WEIGHTS[name]


def offline() -> bool:
    """Whether `XBENCH_OFFLINE` forbids fetching.

    Raises:
        UserError: it says neither yes nor no.
    """
    given = os.environ.get("XBENCH_OFFLINE", "").strip()
    if given.lower() in ("1", "true", "yes", "on"):
        return True
    if given.lower() in ("", "0", "false", "no", "off"):
        return False
    raise UserError(
        f"XBENCH_OFFLINE={given} says neither yes nor no",
        "expected: 1, true, yes or on, so that nothing is fetched; or 0, false, no or off",
        "for example: export XBENCH_OFFLINE=1",
    )


def _check(weight: Weight) -> None:
    """Refuse and rename a file that has another hash."""
    if difference := weight.mismatch(weight.path):
        aside = set_aside(weight.path)
        raise Unavailable(
            f"{weight.file} in the folder '{FOLDER}' of the cache was another file "
            f"({difference}), moved to {aside.name}; try: xbench fetch {weight.name}"
        )


def _fetch(weight: Weight, progress: Progress | None) -> None:
    """Fetch a file; it gets its name once it is complete and its hash is right."""
    if offline():
        raise Unavailable(_missing_offline(weight))
    import pooch

    mirror = os.environ.get("XBENCH_WEIGHTS_URL", "").rstrip("/")
    download = pooch.HTTPDownloader(
        progressbar=_Bar(weight, progress) if progress else False,
        chunk_size=2**20,
        timeout=(_CONNECT_SECONDS, _READ_SECONDS),
    )
    with atomic(weight.path) as part:
        download(f"{mirror}/{weight.file}" if mirror else weight.url, str(part), None)
        if difference := weight.mismatch(part):
            aside = weight.path.with_name(weight.path.name + ".corrupt")
            os.replace(part, aside)
            raise Unavailable(
                f"{weight.file} not fetched (wrong SHA-256: {difference}; "
                f"kept as {aside.name}): {_AGAIN.format(weight.name)}"
            )


class _Bar:
    """The progress bar that pooch expects."""

    def __init__(self, weight: Weight, report: Progress) -> None:
        self.weight = weight
        self.report = report
        self.total = 0  # set by pooch to what the server says
        self.done = 0

    def update(self, more: int) -> None:
        """Count more bytes; pooch counts whole chunks, though the last one may be shorter."""
        self.done = min(self.done + more, self.weight.bytes)
        self.report(self.done, self.weight.bytes, self.weight.file)

    def reset(self) -> None:
        """Start again: pooch counts everything once more at the end."""
        self.done = 0

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _missing_offline(weight: Weight) -> str:
    return f"{weight.file} is missing and XBENCH_OFFLINE=1: {_BY_HAND}"


def _short(error: Exception) -> str:
    """An error in few words, because texts of network errors are long and vary from run to run."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    text = getattr(error, "strerror", None) or type(error).__name__
    return f"{text} {code}" if code else str(text)
