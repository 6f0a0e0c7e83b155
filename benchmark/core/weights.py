"""Weights of pretrained networks: one manifest; fetched once, checked whenever they are used.

They lie in the folder `weights` of `XBENCH_HOME`, fetched by pooch or placed there by hand, and
nothing is written elsewhere. `XBENCH_OFFLINE=1` forbids fetching. `XBENCH_WEIGHTS_URL` names a
mirror: an address below which the files lie as in that folder, so that serving the `weights`
folder of one machine supplies the others.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xbench.core.errors import Unavailable, unknown
from xbench.core.files import atomic, home, set_aside
from xbench.core.hashing import file_digest

#: Called with (bytes done, bytes in all, file) while a file is fetched.
Progress = Callable[[int, int, str], None]
State = Literal["ready", "missing", "wrong"]

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
        file: where it lies below the weights folder and below a mirror.
        url: its official address.
        sha256: what it must hash to, wherever it came from.
        licence: under which terms it is published.
        bytes: its size.
        about: one line for the user.
    """

    name: str
    file: str
    url: str
    sha256: str
    licence: str
    bytes: int
    about: str


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
    """Where the weights of a network lie, or should: a file, or the folder of several files.

    Raises:
        UserError: there are no weights of that name.
    """
    files = _files(name)
    path = _path(files[0])
    return path if len(files) == 1 else path.parent


def obtain(name: str, progress: Progress | None = None) -> Path:
    """Make sure that the weights of a network are there and right, fetching what is missing.

    A file with another hash is never used: it is moved aside to `NAME.corrupt`, whether it was
    fetched or placed by hand, and the next call fetches it anew.

    Args:
        name: `inception`, `clip` or `vae`.
        progress: told the bytes of each file that is fetched.

    Returns:
        What `path_of` returns.

    Raises:
        Unavailable: missing and not fetched, or another file; one line that names it.
        UserError: there are no weights of that name.
    """
    for weight in _files(name):
        path = _path(weight)
        try:
            if path.exists():
                _check(weight, path)
            else:
                _fetch(weight, path, progress)
        except (OSError, ValueError) as error:  # a ValueError: a mirror's address that is none
            raise Unavailable(
                f"{weight.file} not fetched ({_short(error)}): {_AGAIN.format(weight.name)}"
            ) from error
    return path_of(name)


def status(name: str) -> dict[str, Any]:
    """What is known of the weights of a network, for lists and diagnoses; fetches nothing.

    Returns:
        `name`, `state` (`ready`, `missing`, `wrong`), `reason` (one line, or None where they are
        ready), `path`, `bytes`, `licence`, `about`, and `files`: the same for each file, with
        `url` and `sha256`.

    Raises:
        UserError: there are no weights of that name.
    """
    weights = _files(name)
    files = [_file_status(weight) for weight in weights]
    unready = [file for file in files if file["state"] != "ready"]
    return {
        "name": name,
        "state": unready[0]["state"] if unready else "ready",
        "reason": unready[0]["reason"] if unready else None,
        "path": str(path_of(name)),
        "bytes": sum(weight.bytes for weight in weights),
        "licence": weights[0].licence,
        "about": weights[-1].about,
        "files": files,
    }


def _file_status(weight: Weight) -> dict[str, Any]:
    path = _path(weight)
    state: State = "missing"
    reason = None
    if path.is_file():
        found = file_digest(path)
        state = "ready" if found == weight.sha256 else "wrong"
        if state == "wrong":
            reason = f"{weight.file} is another file ({_hashes(found, weight)})"
    elif _offline():
        reason = _missing_offline(weight)
    else:
        reason = (
            f"{weight.file} is missing; fetched on first use, or by: xbench fetch {weight.name}"
        )
    return {
        "file": weight.file,
        "state": state,
        "reason": reason,
        "path": str(path),
        "url": weight.url,
        "sha256": weight.sha256,
        "bytes": weight.bytes,
        "licence": weight.licence,
        "about": weight.about,
    }


def _files(name: str) -> tuple[Weight, ...]:
    if name not in WEIGHTS:
        raise unknown(
            "network with weights", name, WEIGHTS, f"try: xbench fetch {next(iter(WEIGHTS))}"
        )
    return WEIGHTS[name]


def _path(weight: Weight) -> Path:
    return home() / FOLDER / weight.file


def _offline() -> bool:
    return os.environ.get("XBENCH_OFFLINE") == "1"


def _check(weight: Weight, path: Path) -> None:
    """Refuse a file that is there but is another one."""
    found = file_digest(path)
    if found != weight.sha256:
        aside = set_aside(path)
        raise Unavailable(
            f"{weight.file} in the folder '{FOLDER}' of the cache was another file "
            f"({_hashes(found, weight)}), moved to {aside.name}; "
            f"try: xbench fetch {weight.name}"
        )


def _fetch(weight: Weight, path: Path, progress: Progress | None) -> None:
    """Fetch a file; it gets its name only when it is whole and its hash is right."""
    if _offline():
        raise Unavailable(_missing_offline(weight))
    import pooch

    mirror = os.environ.get("XBENCH_WEIGHTS_URL", "").rstrip("/")
    download = pooch.HTTPDownloader(
        progressbar=_Bar(weight, progress) if progress else False,
        chunk_size=2**20,
        timeout=(_CONNECT_SECONDS, _READ_SECONDS),
    )
    with atomic(path) as part:
        download(f"{mirror}/{weight.file}" if mirror else weight.url, str(part), None)
        found = file_digest(part)
        if found != weight.sha256:
            aside = path.with_name(path.name + ".corrupt")
            os.replace(part, aside)
            raise Unavailable(
                f"{weight.file} not fetched (wrong SHA-256: {_hashes(found, weight)}; "
                f"kept as {aside.name}): {_AGAIN.format(weight.name)}"
            )


class _Bar:
    """What pooch takes for a progress bar."""

    def __init__(self, weight: Weight, report: Progress) -> None:
        self.weight = weight
        self.report = report
        self.total = 0  # set by pooch to what the server says
        self.done = 0

    def update(self, more: int) -> None:
        """Some more bytes; pooch counts whole chunks, so the last one may be shorter."""
        self.done = min(self.done + more, self.weight.bytes)
        self.report(self.done, self.weight.bytes, self.weight.file)

    def reset(self) -> None:
        """Pooch counts everything once more at the end."""
        self.done = 0

    def close(self) -> None:
        """Nothing to close."""


def _hashes(found: str, weight: Weight) -> str:
    return f"{found[:8]}… instead of {weight.sha256[:8]}…"


def _missing_offline(weight: Weight) -> str:
    return f"{weight.file} is missing and XBENCH_OFFLINE=1: {_BY_HAND}"


def _short(error: Exception) -> str:
    """An error in few words: the texts of network errors are long and differ from run to run."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    text = getattr(error, "strerror", None) or type(error).__name__
    return f"{text} {code}" if code else str(text)
