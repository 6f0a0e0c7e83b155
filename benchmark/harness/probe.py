"""How fast this machine is beside the one on which the seconds in the profiles were measured."""

import time
from statistics import median

import torch
from torch import nn
from torch.nn import functional

#: Seconds of a step of the probe there, where a training step of MedShift at `quick` took 0.300 s:
#: it took 4.4 ms in an hour in which MedShift's took 0.212 s.
REFERENCE_SECONDS = 0.0062
#: How long the probe takes.
PROBE_SECONDS = 0.5


def slowness(device: torch.device) -> float:
    """Time that work takes here over the time that it took there: 2 is half as fast.

    The work is a training step of two convolutions, since a run consists mostly of such. Other
    programs that run meanwhile slow the probe as they slow the run.
    """
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(
            nn.Conv2d(32, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 32, 3, padding=1)
        ).to(device)
    images = torch.zeros(4, 32, 32, 32, device=device)
    taken: list[float] = []
    end = time.perf_counter() + PROBE_SECONDS
    while time.perf_counter() < end or len(taken) < 3:
        begin = time.perf_counter()
        functional.mse_loss(net(images), images).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return median(taken) / REFERENCE_SECONDS
