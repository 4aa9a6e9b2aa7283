"""A filtered frame to its maxima, highest first."""

from __future__ import annotations

import numpy as np
from numba import jit

from nta.kernels import JIT, PART
from nta.kernels.filter import level_along, tile_row

BETWEEN = 0.77  # of a peak that falls between four points of the grid, what the nearest one shows at least
GUESSED = 0.89  # of such a peak, what a parabola through three points guesses at least


@jit("void(float64[:,::1], int64)", **JIT)
def sort_rows(rows: np.ndarray, n: int) -> None:
    """Sort the first `n` rows by their third column, highest first, in place (Shell 1959); equal ones keep no order but always the same."""
    key, order = np.empty(n), np.empty(n, np.int64)
    for i in range(n):
        key[i], order[i] = rows[i, 2], i
    gap = 1
    while 3 * gap + 1 < n:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            held, which = key[i], order[i]
            j = i
            while j >= gap and key[j - gap] < held:
                key[j], order[j] = key[j - gap], order[j - gap]
                j -= gap
            key[j], order[j] = held, which
        gap //= 3
    columns = rows.shape[1]
    unsorted = np.empty((n, columns))
    for i in range(n):
        for c in range(columns):
            unsorted[i, c] = rows[i, c]
    for i in range(n):
        for c in range(columns):
            rows[i, c] = unsorted[order[i], c]


@jit(**PART)
def find_maxima(
    image: np.ndarray,
    level: np.ndarray,
    row_mid: np.ndarray,
    col_mid: np.ndarray,
    noise: np.ndarray,
    factor: float,
    threshold: float,
    step: int,
    rim: int,
    found: np.ndarray,
) -> int:
    """Write where a filtered image seems to stand `threshold` times its noise over its level, the highest first; return how many.

    Of equal neighbours the first counts.

    Parameters
    ----------
    image, noise : (height, width) float32; the noise is to be multiplied by `factor`
    level : (rows, columns), of each tile, whose centres lie at `row_mid` and `col_mid`
    step, rim : spacing of the points, px; how many points from the edges none is looked for
    found : (capacity, 5), capacity a quarter of the points: x and y in px, height over the level, level, noise
    """
    height, width = image.shape
    upper, lower, across = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    tile = -1
    above = np.zeros((width + 7) // 8 * 8, np.uint8)
    eights = above.view(np.uint64)
    times = np.float32(BETWEEN * threshold * factor)
    rim = max(rim, 1)
    n = 0
    for r in range(rim, height - rim):
        i, share = tile_row(row_mid, r)
        if i != tile:
            tile = i
            level_along(level[i], col_mid, upper)
            level_along(level[min(i + 1, len(row_mid) - 1)], col_mid, lower)
        here, sd, before, after = image[r], noise[r], image[r - 1], image[r + 1]
        for c in range(width):
            across[c] = upper[c] + share * (lower[c] - upper[c])
            above[c] = np.uint8((here[c] > across[c] + times * sd[c]) & (here[c] > before[c]) & (here[c] >= after[c]))
        for block in range(len(eights)):
            if eights[block] == 0:
                continue
            for c in range(max(8 * block, rim), min(8 * block + 8, width - rim)):
                v = here[c]
                if (
                    above[c] != 0
                    and v >= here[c + 1]
                    and v > here[c - 1]
                    and v > before[c - 1]
                    and v > before[c + 1]
                    and v >= after[c - 1]
                    and v >= after[c + 1]
                ):
                    left, right, up, down = here[c - 1], here[c + 1], before[c], after[c]
                    dx = 0.5 * (right - left) / max(2.0 * v - left - right, 1e-30)
                    dy = 0.5 * (down - up) / max(2.0 * v - up - down, 1e-30)
                    guess = v - across[c] + 0.25 * ((right - left) * dx + (down - up) * dy)
                    if guess > GUESSED * threshold * factor * sd[c]:
                        found[n, 0], found[n, 1] = step * (c + dx), step * (r + dy)
                        found[n, 2], found[n, 3], found[n, 4] = guess, across[c], sd[c] * factor
                        n += 1
    sort_rows(found, n)
    return n
