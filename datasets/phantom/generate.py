"""Makes the image files of heads, in this process or in worker processes."""

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
from xbench.core.pixels import WHITE, Pixels, to_pixels
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

#: Stored grey levels per cm of the bone path and of the vessel path.
STEPS_PER_CM = 2000
#: Planes of val and test files: each domain, each domain again with other noise, the bone path, and
#: the vessel path if there are vessels.
BONE_PLANE = 2 * len(LOOKS)
VESSEL_PLANE = BONE_PLANE + 1

#: Whether arteries are filled: no; yes; yes, and the mask is subtracted.
Vessels = Literal["none", "angiogram", "dsa"]
#: Iodine in contrast media, g/cm3 (usually 250 to 350 mg per ml), and the share of the medium in
#: the blood of a filled artery (our choice).
IODINE_RANGE, DILUTION = (0.25, 0.35), 0.7
#: Motion of a head between mask and filling, px at 256 px (up to 0.2 mm, our choice).
MOTION_RANGE = (0.05, 0.2)


@dataclass(frozen=True)
class Job:
    """One head of one split: the folder of its file, and everything that the file depends on.

    `domain` is the domain of a training head, and None if all domains are made.
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
        """The image formation of a domain with this job's switches."""
        subtracted = self.vessels == "dsa"
        return look(domain, self.attenuation, self.noise, self.soft_tissue, subtracted)


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one torch thread: sums have one order, and many tiny operations run faster."""
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


def _images(job: Job) -> tuple[Pixels, dict[str, Any]]:
    seed = seed_from("phantom", job.head)
    channels = (bone_channel(job.look(job.domain)),) if job.domain else CHANNELS
    head = make_head(seed, job.voxel_mm, channels)
    bone, soft = Projector(head.bone), Projector(head.soft)
    discs = None if job.vessels == "none" else vessels.grow(seed)
    out = np.empty(job.shape(), np.uint16)
    views = []
    for number in range(job.views):
        view = draw_view(f"{job.split} {job.domain}", job.index * job.views + number)
        paths = project(head, bone, soft, view, job.size, seed)
        if discs is not None:
            path = vessels.project(discs, view, job.size)
            paths = replace(paths, contrast=inject(path, f"{job.head} {number}"))
        out[..., number, :, :] = _planes(job, paths, f"{job.head} {number}")
        views.append(_truth(job, number, view))
    return out, {"head_seed": seed, "views": views}


def project(
    head: Head, bone: Projector, soft: Projector, view: View, size: int, seed: int
) -> Paths:
    """Line integrals of one view; empty for a bone channel that the head does not have."""
    lines = dict(zip(head.channels, bone.project(view, size), strict=True))
    nothing = torch.empty(0)
    return Paths(
        dens=lines.get("dens", nothing),
        solid=lines.get("solid", nothing),
        soft=soft.project(view, size)[0],
        mount=mount_path(seed, view, size),
    )


def inject(path: Tensor, view: str) -> Contrast:
    """Contrast medium in arteries with a `path` in cm; `view` names the random draws."""
    draw = random.Random(seed_from("contrast", view)).uniform
    rho = DILUTION * draw(*IODINE_RANGE)
    angle, reach = draw(0, 2 * math.pi), draw(*MOTION_RANGE)
    return Contrast(path, rho, (reach * math.sin(angle), reach * math.cos(angle)))


def _planes(job: Job, paths: Paths, view: str) -> Pixels:
    """The stored images of one view: `[1, H, W]` for training, else `[planes, H, W]`."""
    if job.domain:
        seed = seed_from("noise", view, job.domain, 0)
        return to_pixels(render(job.look(job.domain), paths, seed)[None, None])
    planes = [
        render(job.look(domain), paths, seed_from("noise", view, domain, repeat))
        for repeat in range(2)
        for domain in LOOKS
    ]
    planes.append(paths.solid / SOLID_RHO * STEPS_PER_CM / WHITE)
    if paths.contrast is not None:
        planes.append(paths.contrast.vessels * STEPS_PER_CM / WHITE)
    return to_pixels(torch.stack(planes)[:, None])


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
        jobs: the jobs.
        workers: number of worker processes; below 2, this process does the work.
        done: called in this process, one call at a time.
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
            # After an error or an interrupt, no thread takes another job.
            while not todo.empty():
                todo.get_nowait()


def _drive(
    todo: "queue.SimpleQueue[Job]", finished: "queue.SimpleQueue[BaseException | None]"
) -> None:
    """Feed one worker process from the queue; runs in a thread of the parent."""
    # -P: the current folder may hold other packages of the same names.
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
