"""Frames to a signal-to-noise on a grid: still background removed, matched filter, local level and noise.

A filtered image holds nothing finer than the filter: it is computed at every `step`-th row and column only.
"""

from __future__ import annotations

import numpy as np
from numba import int64, jit

from nta.kernels import INNER, JIT
from nta.kernels.still import put_in_order

FIRST, NEXT = 3, 2  # pairs of taps that the first and every further pass over a row take; with more arrays, loops are not vectorised
BAND = 16  # rows of the grid that are filtered down and across in turn
SAMPLES = 33  # of a tile, for the median about which it is clipped: known to a fifth of the noise, near enough to clip at three
ACROSS = 0.7548776662466927  # of a tile from sample to sample, its square down: on no lattice that a frame could have (Roberts 2018)
CLIP = 3.0
CLIPPED_VARIANCE = 0.9733  # of a Gaussian within 3 SD


@jit("int64(int64, int64)", **INNER)
def mirror(r: int, n: int) -> int:
    """Return the row that stands for row `r` of an image of `n` rows, mirrored at its edges."""
    if 0 <= r < n:
        return r
    period = 2 * n
    r = r % period
    return r if r < n else period - 1 - r


@jit(**JIT)
def filter_rows(image: np.ndarray, taps: np.ndarray, step: int, first: int, out: np.ndarray) -> None:
    """Filter the columns of an image at every `step`-th row from `first` such rows on; `out` has reach columns more on the left."""
    height, width = image.shape
    reach = len(taps) - 1
    t0, t1, t2, t3 = taps[0], taps[1], taps[2], taps[3]
    for k in range(len(out)):
        r, row = (first + k) * step, out[k, reach : reach + width]
        m = image[r]
        a1, b1 = image[mirror(r - 1, height)], image[mirror(r + 1, height)]
        a2, b2 = image[mirror(r - 2, height)], image[mirror(r + 2, height)]
        a3, b3 = image[mirror(r - 3, height)], image[mirror(r + 3, height)]
        for c in range(width):
            row[c] = (
                t0 * np.float32(m[c])
                + t1 * (np.float32(a1[c]) + np.float32(b1[c]))
                + t2 * (np.float32(a2[c]) + np.float32(b2[c]))
                + t3 * (np.float32(a3[c]) + np.float32(b3[c]))
            )
        for d in range(FIRST + 1, reach + 1, NEXT):
            a1, b1 = image[mirror(r - d, height)], image[mirror(r + d, height)]
            a2, b2 = image[mirror(r - d - 1, height)], image[mirror(r + d + 1, height)]
            s1, s2 = taps[d], taps[d + 1]
            for c in range(width):
                row[c] += s1 * (np.float32(a1[c]) + np.float32(b1[c])) + s2 * (np.float32(a2[c]) + np.float32(b2[c]))


@jit("void(float32[:,::1], int64, float32[:,::1], float32[::1], int64, float32[:,::1])", **JIT)
def filter_columns(padded: np.ndarray, width: int, base: np.ndarray, taps: np.ndarray, step: int, out: np.ndarray) -> None:
    """Filter rows of `width`, which `padded` has in its middle, at every `step`-th column, and take `base` off; its margins are written."""
    n, reach, length = out.shape[1], len(taps) - 1, padded.shape[1] // step
    # every `step`-th column of a row with its mirrored edges stands in one piece, so that all loads are of neighbours
    phases = np.empty(padded.shape[1], np.float32)
    outside = np.empty(padded.shape[1] - width, np.int64)
    for d in range(len(outside)):
        outside[d] = reach + mirror(-1 - d if d < reach else width + d - reach, width)
    piece = np.empty(2 * reach + 1, np.int64)
    for d in range(2 * reach + 1):
        piece[d] = d % step * length + d // step
    t0, t1, t2, t3 = taps[0], taps[1], taps[2], taps[3]
    for k in range(len(out)):
        line, below, row = padded[k], base[k], out[k]
        for d in range(len(outside)):
            line[reach - 1 - d if d < reach else width + d] = line[outside[d]]
        if step == 2:
            # side by side, or the loop is not vectorised
            even, odd = phases[:length], phases[length:]
            for q in range(length):
                even[q] = line[2 * q]
                odd[q] = line[2 * q + 1]
        else:
            for p in range(step):
                phase, source = phases[p * length :], line[p:]
                for q in range(length):
                    phase[q] = source[step * q]
        m = phases[piece[reach] :]
        a1, b1 = phases[piece[reach - 1] :], phases[piece[reach + 1] :]
        a2, b2 = phases[piece[reach - 2] :], phases[piece[reach + 2] :]
        a3, b3 = phases[piece[reach - 3] :], phases[piece[reach + 3] :]
        for c in range(n):
            row[c] = t0 * m[c] + t1 * (a1[c] + b1[c]) + t2 * (a2[c] + b2[c]) + t3 * (a3[c] + b3[c]) - below[c]
        for d in range(FIRST + 1, reach + 1, NEXT):
            a1, b1 = phases[piece[reach - d] :], phases[piece[reach + d] :]
            a2, b2 = phases[piece[reach - d - 1] :], phases[piece[reach + d + 1] :]
            s1, s2 = taps[d], taps[d + 1]
            for c in range(n):
                row[c] += s1 * (a1[c] + b1[c]) + s2 * (a2[c] + b2[c])


@jit("float64(float64[::1])", **JIT)
def middle_of(values: np.ndarray) -> float:
    """Return the upper median of some values, in a new order (Hoare 1961)."""
    low, high, k = 0, len(values) - 1, len(values) // 2
    while low < high:
        pivot, i, j = values[k], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if k < i:
            high = j
    return values[k]


@jit("float64(float32[:,::1], float32[:,::1], int64[::1], int64[::1], int64[:,::1], float64[:,::1], float64[:,::1])", **JIT)
def find_levels(
    image: np.ndarray,
    spread: np.ndarray,
    row_edge: np.ndarray,
    col_edge: np.ndarray,
    pairs: np.ndarray,
    level: np.ndarray,
    variance: np.ndarray,
) -> float:
    """Write, for each tile, the mean and variance of what lies within three SD of the median of some of its points.

    Return the median over the tiles of the variance over the square of `spread`, where that is positive; 1 where it is nowhere.

    Parameters
    ----------
    image : (height, width) float32
    spread : (rows, columns) float32, SD of a point in each tile
    row_edge, col_edge : (rows + 1,) and (columns + 1,) int64, where tiles begin and end
    pairs : (m, 2) int64, which sort `SAMPLES` values
    level, variance : (rows, columns); the variance is that of a Gaussian that lost its tails
    """
    width, rows, columns = image.shape[1], len(row_edge) - 1, len(col_edge) - 1
    sample = np.empty((SAMPLES, rows * columns), np.float32)
    for k in range(SAMPLES):
        down, across = (k + 0.5) * ACROSS**2 % 1.0, (k + 0.5) * ACROSS % 1.0
        for i in range(rows):
            line = image[row_edge[i] + int64(down * (row_edge[i + 1] - row_edge[i]))]
            for j in range(columns):
                sample[k, i * columns + j] = line[col_edge[j] + int64(across * (col_edge[j + 1] - col_edge[j]))]
    # of all tiles in the same steps, which no branch depends on
    put_in_order(sample, pairs)
    median = sample[SAMPLES // 2]
    centre, limit = np.empty(width, np.float32), np.empty(width, np.float32)
    total, squares, count = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    nothing, one = np.float32(0.0), np.float32(1.0)
    for i in range(rows):
        top, bottom = row_edge[i], row_edge[i + 1]
        for j in range(columns):
            for c in range(col_edge[j], col_edge[j + 1]):
                centre[c] = median[i * columns + j]
                limit[c] = np.float32(CLIP) * spread[i, j]
        for c in range(width):
            total[c] = squares[c] = count[c] = nothing
        for r in range(top, bottom, 2):
            row = image[r]
            for c in range(width):
                away = row[c] - centre[c]
                inside = abs(away) <= limit[c]
                away = away if inside else nothing
                total[c] += away
                squares[c] += away * away
                count[c] += one if inside else nothing
        for j in range(len(col_edge) - 1):
            left, right = col_edge[j], col_edge[j + 1]
            sum_away, sum_squares, n = 0.0, 0.0, 0.0
            for c in range(left, right):
                sum_away += total[c]
                sum_squares += squares[c]
                n += count[c]
            n = max(n, 1.0)
            level[i, j] = centre[left] + sum_away / n
            variance[i, j] = max(sum_squares / n - (sum_away / n) ** 2, 0.0) / CLIPPED_VARIANCE
    ratio, m = np.empty(rows * columns), 0
    for i in range(rows):
        for j in range(columns):
            if spread[i, j] > nothing:
                ratio[m] = variance[i, j] / (float(spread[i, j]) * float(spread[i, j]))
                m += 1
    return middle_of(ratio[:m]) if m > 0 else 1.0


@jit(**JIT)
def filter_image(
    image: np.ndarray,
    base: np.ndarray,
    down: np.ndarray,
    across: np.ndarray,
    step: int,
    out: np.ndarray,
    spread: np.ndarray,
    row_edge: np.ndarray,
    col_edge: np.ndarray,
    pairs: np.ndarray,
    level: np.ndarray,
    variance: np.ndarray,
) -> float:
    """Filter an image with symmetric taps, mirrored at its edges, at every `step`-th row and column, take `base` off, and find its levels.

    Compiled for each pixel type met. In one piece, since a thread may have to wait between two.

    Parameters
    ----------
    image : (height, width)
    down, across : (reach + 1,) float32, taps along columns and along rows, centre first; reach 3, 5, 7 ...
    base, out : (ceil(height / step), ceil(width / step)) float32
    spread, row_edge, col_edge, pairs, level, variance : as in `find_levels`, as is what is returned
    """
    reach = len(down) - 1
    # a band stays in the processor's cache
    band = np.empty((BAND, (image.shape[1] + 2 * reach) // step * step + step), np.float32)
    for first in range(0, len(out), BAND):
        rows = min(BAND, len(out) - first)
        filter_rows(image, down, step, first, band[:rows])
        filter_columns(band[:rows], image.shape[1], base[first : first + rows], across, step, out[first : first + rows])
    return find_levels(out, spread, row_edge, col_edge, pairs, level, variance)


@jit("Tuple((int64, float32))(float64[::1], float64)", **INNER)
def tile_row(row_mid: np.ndarray, r: float) -> tuple[int, np.float32]:
    """Return the tile whose centre is the last before row `r`, or else the first, and the next one's share in the level there."""
    i = 0
    while i + 2 < len(row_mid) and row_mid[i + 1] <= r:
        i += 1
    if len(row_mid) == 1:
        return 0, np.float32(0.0)
    return i, np.float32(min(max((r - row_mid[i]) / (row_mid[i + 1] - row_mid[i]), 0.0), 1.0))


@jit("void(float64[::1], float64[::1], float32[::1])", **INNER)
def level_along(level: np.ndarray, col_mid: np.ndarray, out: np.ndarray) -> None:
    """Write the level along a row of tiles' centres, interpolated between them and constant beyond the outermost ones."""
    last = len(level) - 1
    for c in range(len(out)):
        out[c] = np.float32(level[last])
    begin = 0
    for j in range(last + 1):
        before = level[max(j - 1, 0)]
        end = min(int64(np.ceil(col_mid[j])), len(out))
        slope = (level[j] - before) / (col_mid[j] - col_mid[j - 1]) if j > 0 else 0.0
        for c in range(begin, end):
            out[c] = np.float32(before + slope * (c - col_mid[j - 1] if j > 0 else 0.0))
        begin = end
