"""Frames to their still image: each pixel's interquartile mean over time, and its SD."""

from __future__ import annotations

import numpy as np
from numba import jit

from nta.kernels import JIT

BLOCK = 2048  # pixels sorted at a time: with those of all frames they stay in the processor's cache


@jit(**JIT)
def put_in_order(rows: np.ndarray, pairs: np.ndarray) -> None:
    """Put the values of each column in order for one pair of rows, (m, 2), after the other; compiled for each type met."""
    for k in range(len(pairs)):
        one, other = rows[pairs[k, 0]], rows[pairs[k, 1]]
        for c in range(len(one)):
            a, b = one[c], other[c]
            one[c] = min(a, b)
            other[c] = max(a, b)


@jit(**JIT)
def find_middle(stack: np.ndarray, first: int, pairs: np.ndarray, inner: float, mean: np.ndarray, sd: np.ndarray) -> None:
    """Write the mean of the middle half of each pixel's values, and `inner` times their mean deviation; compiled for each pixel type met.

    Parameters
    ----------
    stack : (n, pixels or more), of which those from `first` on are looked at
    pairs : (m, 2) int64, after which each value is in its quarter
    mean, sd : (pixels,) float32; written
    """
    n, pixels = len(stack), len(mean)
    quarter, half = n // 4, n // 2
    room = np.empty((n, BLOCK), stack.dtype)
    low, high = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    share, per = np.float32(1.0 / (n - 2 * quarter)), np.float32(inner / (n - 2 * quarter))
    for begin in range(0, pixels, BLOCK):
        block = min(BLOCK, pixels - begin)
        for k in range(n):
            here, row = stack[k, first + begin : first + begin + block], room[k]
            for p in range(block):
                row[p] = here[p]
        put_in_order(room, pairs)
        for p in range(BLOCK):
            low[p] = high[p] = np.float32(0.0)
        for k in range(quarter, half):
            lower, upper = room[k], room[n - 1 - k]
            for p in range(BLOCK):
                low[p] += np.float32(lower[p])
                high[p] += np.float32(upper[p])
        middle, means, sds = room[half], mean[begin : begin + block], sd[begin : begin + block]
        for p in range(block):
            total = low[p] + high[p]
            if n % 2 == 1:
                total += np.float32(middle[p])
            means[p] = total * share
            # about the median the deviations need no sign
            sds[p] = (high[p] - low[p]) * per
