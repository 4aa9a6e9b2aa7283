"""Frames to noise like theirs with nothing in it: each pixel shows one of its own values of another time."""

from __future__ import annotations

import numpy as np
from numba import int64, jit

from nta.kernels import JIT
from nta.kernels.filter import level_along, tile_row

BLOCK = 64  # pixels whose values are gathered at a time, and written side by side


@jit(**JIT)
def take_off(
    frame: np.ndarray,
    still: np.ndarray,
    sign: float,
    level: np.ndarray,
    row_mid: np.ndarray,
    col_mid: np.ndarray,
    top: int,
    edge: np.ndarray,
    share: float,
    out: np.ndarray,
) -> None:
    """Write ``sign * (frame - still)``, of the rows from `top` on, less the level into `out`; compiled for each pixel type met.

    The level is interpolated between the tiles' centres, which are given in px. The still image is taken as it were without the frame:
    `share` of what the frame differs by, within `edge`, (height, width) float32, of it, was its own.
    """
    upper, lower = np.empty(frame.shape[1], np.float32), np.empty(frame.shape[1], np.float32)
    factor, own, tile = np.float32(sign), np.float32(share), -1
    for r in range(out.shape[0]):
        i, part = tile_row(row_mid, top + r)
        if i != tile:
            tile = i
            level_along(level[i], col_mid, upper)
            level_along(level[min(i + 1, len(row_mid) - 1)], col_mid, lower)
        row, line, below, most = out[r], frame[top + r], still[top + r], edge[top + r]
        for c in range(len(row)):
            off = np.float32(line[c]) - below[c]
            off += own * min(max(off, -most[c]), most[c])
            row[c] = factor * off - (upper[c] + part * (lower[c] - upper[c]))


@jit("void(float32[:,::1], uint8[:,::1], uint64, float32[:,::1])", **JIT)
def shuffle(value: np.ndarray, hidden: np.ndarray, seed: int, out: np.ndarray) -> None:
    """Write images in which each pixel has its value at a time of its own, when no particle hides it; 0 where there is none.

    A pixel shows its values in turn from a random one on, image by image, and begins anew at a random one when it has shown as many as
    there are times. Random numbers by xorshift (Marsaglia 2003), the same on every machine.

    Parameters
    ----------
    value : (times, pixels) float32
    hidden : (times, pixels) uint8
    out : (images, pixels) float32
    """
    times, pixels = value.shape
    state = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x2545F4914F6CDD1D)
    seen, count, at = np.empty((times, BLOCK), np.float32), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    for first in range(0, pixels, BLOCK):
        block = min(BLOCK, pixels - first)
        for p in range(block):
            count[p] = times
        for k in range(times):
            here, now, covers = value[k, first : first + block], seen[k], hidden[k, first : first + block]
            for p in range(block):
                now[p] = here[p]
                count[p] -= covers[p]
        for p in range(block):
            if count[p] < times:
                n = 0
                for k in range(times):
                    seen[n, p] = seen[k, p]
                    n += 1 - hidden[k, first + p]
                if n == 0:
                    seen[0, p], count[p] = np.float32(0.0), 1
        for m in range(out.shape[0]):
            if m % times == 0:
                for p in range(block):
                    state ^= state << np.uint64(13)
                    state ^= state >> np.uint64(7)
                    state ^= state << np.uint64(17)
                    # its upper half as a fraction of the count
                    at[p] = int64(((state >> np.uint64(32)) * np.uint64(count[p])) >> np.uint64(32))
            row = out[m, first : first + block]
            for p in range(block):
                row[p] = seen[at[p], p]
                at[p] = at[p] + 1 if at[p] + 1 < count[p] else 0
