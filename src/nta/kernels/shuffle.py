"""Frames to noise like theirs with nothing in it: each pixel shows one of its own values of another time."""

from __future__ import annotations

import numpy as np
from numba import jit

from nta.kernels import JIT
from nta.kernels.filter import level_row

BLOCK = 64  # pixels whose values are gathered at a time, and written side by side


@jit("void(float32[:,::1], float64[:,::1], float64[::1], float64[::1], int64, float32[:,::1])", **JIT)
def take_level_off(image: np.ndarray, level: np.ndarray, row_mid: np.ndarray, col_mid: np.ndarray, top: int, out: np.ndarray) -> None:
    """Write `image`, the rows of a frame from `top` on, less the level interpolated between the tiles' centres (px), into `out`."""
    across = np.empty(image.shape[1], np.float32)
    for r in range(out.shape[0]):
        level_row(level, row_mid, col_mid, top + r, across)
        row, line = out[r], image[r]
        for c in range(len(row)):
            row[c] = line[c] - across[c]


@jit("void(float32[:,::1], uint8[:,::1], uint64, float32[:,::1])", **JIT)
def shuffle(value: np.ndarray, hidden: np.ndarray, seed: int, out: np.ndarray) -> None:
    """Write images in which each pixel has its value at a random time, of those at which no particle hides it; 0 where there is none.

    Random numbers by xorshift (Marsaglia 2003), the same on every machine.

    Parameters
    ----------
    value : (times, pixels) float32
    hidden : (times, pixels) uint8
    out : (images, pixels) float32
    """
    times, pixels = value.shape
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x2545F4914F6CDD1D)
    seen, count = np.empty((BLOCK, times + 1), np.float32), np.empty(BLOCK, np.uint64)
    for first in range(0, pixels, BLOCK):
        block = min(BLOCK, pixels - first)
        for p in range(block):
            n = 0
            for k in range(times):
                seen[p, n] = value[k, first + p]
                n += 1 - hidden[k, first + p]
            if n == 0:
                seen[p, 0] = np.float32(0.0)
            count[p] = max(n, 1)
        for m in range(out.shape[0]):
            row = out[m, first : first + block]
            for p in range(block):
                if p % 2 == 0:
                    state ^= state << np.uint64(13)
                    state ^= state >> np.uint64(7)
                    state ^= state << np.uint64(17)
                    half = state >> np.uint64(32)
                else:
                    half = state & np.uint64(0xFFFFFFFF)
                # a half as a fraction of the count
                row[p] = seen[p, (half * count[p]) >> np.uint64(32)]
