"""Makes the image files of one head, alone or by worker processes."""

import json
import math
import queue
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xbench.core.files import atomic, write_text
from xbench.core.hashing import file_digest, seed_from
from xbench.datasets.phantom import vessels
from xbench.datasets.phantom.projection import Projector, View
from xbench.datasets.phantom.render import (
    LOOKS,
    Contrast,
    Look,
    Paths,
    bone_channel,
    look,
    render,
)
from xbench.datasets.phantom.views import draw_view, mount_path
from xbench.datasets.phantom.volume import CHANNELS, SOLID_RHO, Head, make_head

#: Stored steps of the bone path and of the vessel path per cm.
STEPS_PER_CM = 2000
#: Val and test files hold each domain, each domain again with other noise, then the bone path and,
#: with vessels, the path through these.
BONE_PLANE = 2 * len(LOOKS)
VESSEL_PLANE = BONE_PLANE + 1

#: Whether arteries are filled: not at all, shown over the anatomy, shown with the mask taken off.
Vessels = Literal["none", "angiogram", "dsa"]
#: Iodine in contrast media, g/cm3 (250 to 350 mg per ml are usual), and the share of the medium in
#: the blood of a filled artery (our choice).
IODINE_RANGE, DILUTION = (0.25, 0.35), 0.7
#: How far a head moves between mask and filling, px at 256 px (up to 0.2 mm, our choice).
MOTION_RANGE = (0.05, 0.2)


@dataclass(frozen=True)
class Job:
    """One head of one split: all that its file depends on, and where it goes.

    `domain` is the domain of a training head and None where all domains are made.
    """

    folder: str
    split: str
    domain: str | None
    index: int
    views: int
    size: int
    voxel_mm: float
    attenuation: bool
    noise: bool
    soft_tissue: bool
    vessels: Vessels = "none"

    @property
    def head(self) -> str:
        """Name of the head, unique over all splits and domains."""
        middle = f"-{self.domain}-" if self.domain else ""
        return f"{self.split}{middle}{self.index:03d}"

    @property
    def array(self) -> Path:
        """The images, uint16: `[views, H, W]` for training, else `[planes, views, H, W]`."""
        return Path(self.folder) / f"{self.head}.npy"

    @property
    def sidecar(self) -> Path:
        """SHA-256 of the array and the ground truth of its views, JSON."""
        return Path(self.folder) / f"{self.head}.json"

    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        images = (self.views, self.size, self.size)
        last = BONE_PLANE if self.vessels == "none" else VESSEL_PLANE
        return images if self.domain else (last + 1, *images)

    def look(self, domain: str) -> Look:
        """The parts of a domain under this job's switches."""
        subtracted = self.vessels == "dsa"
        return look(domain, self.attenuation, self.noise, self.soft_tissue, subtracted)


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside: sums have one order, and many tiny operations run faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make(job: Job) -> None:
    """Write the array and then the sidecar of a job."""
    with one_thread():
        images, truth = _images(job)
    with atomic(job.array) as part:
        np.save(part, images)
        digest = file_digest(part)
    write_text(job.sidecar, json.dumps({"sha256": digest, **truth}, indent=1))


def _images(job: Job) -> tuple[np.ndarray[Any, np.dtype[np.uint16]], dict[str, Any]]:
    seed = seed_from("phantom", job.head)
    channels = (bone_channel(job.look(job.domain)),) if job.domain else CHANNELS
    head = make_head(seed, job.voxel_mm, channels)
    bone, soft = Projector(head.bone), Projector(head.soft)
    arteries = None if job.vessels == "none" else vessels.grow(seed)
    out = np.empty(job.shape(), np.uint16)
    views = []
    for number in range(job.views):
        view = draw_view(f"{job.split} {job.domain}", job.index * job.views + number)
        paths = project(head, bone, soft, view, job.size, seed)
        if arteries is not None:
            path = vessels.project(arteries, view, job.size)
            paths = replace(paths, contrast=inject(path, f"{job.head} {number}"))
        out[..., number, :, :] = _planes(job, paths, f"{job.head} {number}")
        views.append(_truth(job, number, view))
    return out, {"head_seed": seed, "views": views}


def project(
    head: Head, bone: Projector, soft: Projector, view: View, size: int, seed: int
) -> Paths:
    """Line integrals of one view; a bone channel that the head lacks is empty."""
    lines = dict(zip(head.channels, bone.project(view, size), strict=True))
    nothing = torch.empty(0)
    return Paths(
        dens=lines.get("dens", nothing),
        solid=lines.get("solid", nothing),
        soft=soft.project(view, size)[0],
        mount=mount_path(seed, view, size),
    )


def inject(path: Tensor, view: str) -> Contrast:
    """Contrast medium in arteries with this `path` (cm); `view` names what chance draws."""
    draw = random.Random(seed_from("contrast", view)).uniform
    rho = DILUTION * draw(*IODINE_RANGE)
    angle, reach = draw(0, 2 * math.pi), draw(*MOTION_RANGE)
    return Contrast(path, rho, (reach * math.sin(angle), reach * math.cos(angle)))


def _planes(job: Job, paths: Paths, view: str) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """The images of one view as stored: `[H, W]` for training, else `[planes, H, W]`."""
    if job.domain:
        seed = seed_from("noise", view, job.domain, 0)
        return _pack(render(job.look(job.domain), paths, seed))
    planes = [
        render(job.look(domain), paths, seed_from("noise", view, domain, repeat))
        for repeat in range(2)
        for domain in LOOKS
    ]
    planes.append((paths.solid / SOLID_RHO * STEPS_PER_CM / 65535).clamp(max=1))
    if paths.contrast is not None:
        planes.append((paths.contrast.vessels * STEPS_PER_CM / 65535).clamp(max=1))
    return _pack(torch.stack(planes))


def _pack(image: Tensor) -> np.ndarray[Any, np.dtype[np.uint16]]:
    packed: np.ndarray[Any, np.dtype[np.uint16]]
    packed = (image.double() * 65535).round().numpy().astype(np.uint16)
    return packed


def _truth(job: Job, number: int, view: View) -> dict[str, Any]:
    return {
        "id": f"{job.head}-{number}-{view.name}",
        "view": view.name,
        "lao": round(view.lao, 4),
        "cran": round(view.cran, 4),
    }


def make_all(jobs: Sequence[Job], workers: int, done: Callable[[], None]) -> None:
    """Make the files of all jobs, calling `done` after each.

    Args:
        jobs: what to make.
        workers: number of worker processes; below 2 the work is done here.
        done: called in the caller's process, one call at a time.
    """
    if workers < 2:
        for job in jobs:
            make(job)
            done()
        return
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    for job in jobs:
        todo.put(job)
    with ThreadPoolExecutor(workers) as pool:
        for _ in range(workers):
            pool.submit(_drive, todo, finished)
        try:
            for _ in jobs:
                error = finished.get()
                if error is not None:
                    raise error
                done()
        finally:
            # Also on an error or an interrupt: no thread takes another job.
            while not todo.empty():
                todo.get_nowait()


def _drive(
    todo: "queue.SimpleQueue[Job]", finished: "queue.SimpleQueue[BaseException | None]"
) -> None:
    """Feed one worker process from the queue (runs in a thread of the parent)."""
    # -P: the current folder may hold a `datasets` package or other namesakes.
    command = [sys.executable, "-P", "-m", "xbench.datasets.phantom.worker"]
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as worker:
            if worker.stdin is None or worker.stdout is None:
                raise RuntimeError("the worker has no pipes")
            while True:
                job = todo.get_nowait()
                worker.stdin.write(json.dumps(asdict(job)) + "\n")
                worker.stdin.flush()
                answer = worker.stdout.readline().strip()
                if not answer:
                    raise RuntimeError(f"a worker failed on {job.head}; its error is above")
                if answer != "ok":
                    raise OSError(*json.loads(answer))
                finished.put(None)
    except queue.Empty:
        return
    except Exception as error:
        finished.put(error)
