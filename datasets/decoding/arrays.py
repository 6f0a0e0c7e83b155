"""Decodes NPY files, the arrays of NumPy."""

from pathlib import Path

import numpy as np

from xbench.datasets.decoding.picture import Picture, Undecodable, from_array, refuse_huge


def read_array(path: Path, mask: bool) -> Picture:
    """Decode an array `[H, W]`; other axes may be there if they have the length 1.

    Raises:
        Undecodable: it has another shape, no pixels, or no numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" in str(error) or "Object arrays" in str(error):
            raise Undecodable("cannot be decoded: it holds Python objects, not numbers") from error
        array = np.load(path, allow_pickle=False)  # an array of no bytes cannot be mapped
    if mask and array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.ndim > 2 and array.size:
        array = array.squeeze()
    if array.ndim == 2:
        refuse_huge(*array.shape)
    return from_array(np.array(array) if array.ndim == 2 else array)
