"""The kernels that are compiled for each type of pixel, compiled for one before it is met."""

from __future__ import annotations

import numpy as np
from numba import float32, float64, from_dtype, int64

from nta.kernels.filter import filter_image
from nta.kernels.shuffle import take_off
from nta.kernels.still import find_middle


def compile_for(dtype: str) -> None:
    """Compile the kernels for pixels of a type, by its name, and the filter for noise that is made."""
    pixel, row, rows = from_dtype(np.dtype(dtype)), float32[::1], float32[:, ::1]
    edge, tiles = int64[::1], float64[:, ::1]
    find_middle.compile((pixel[:, ::1], int64, int64[:, ::1], float64, row, row))
    for each in (pixel, float32):
        filter_image.compile((each[:, ::1], rows, row, row, int64, rows, rows, edge, edge, int64[:, ::1], tiles, tiles))
    place = float64[::1]
    take_off.compile((pixel[:, ::1], rows, float64, tiles, place, place, int64, rows, float64, rows))
