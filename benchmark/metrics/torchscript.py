"""TorchScript archives: the form in which pretrained networks and users' extractors come."""

import warnings
from pathlib import Path

import torch
from torch import nn


def load_torchscript(path: Path, device: torch.device | str) -> nn.Module:
    """The network of an archive, on a device and set to evaluation.

    Loading and calling it executes TorchScript alone, never Python from the file.

    Raises:
        RuntimeError: the file is no such archive.
    """
    with warnings.catch_warnings():
        # TorchScript is deprecated, but the files exist in no other form.
        warnings.simplefilter("ignore", FutureWarning)
        network: nn.Module = torch.jit.load(path, map_location=device)
    return network.eval()
