"""A filtered frame to its spots: maxima, the frame less its still background about them, fits, second looks at what may be two.

In one piece: between kernels a thread would have to wait for the others, and Python takes as long as the shorter kernels.
"""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import INNER, JIT, LANES, PART, unsigned
from nta.kernels.doubles import find_doubtful, look_again
from nta.kernels.fit import COLUMNS, DIAGNOSTICS
from nta.kernels.maxima import find_maxima
from nta.kernels.spots import fit_spots, wipe

NEAR = 4.5  # filter widths about a maximum: its spot may be one and a half away, and is fitted over three
CRUMBS = 6.0  # about a spot: it may have been in the model on the other side of its maximum
WIDE = 8.5  # about a spot that may be two: the second may be five and a half away
HALF = LANES // 2  # short rows are in whole lanes of this


@jit(**INNER)
def take_from(frame: np.ndarray, still: np.ndarray, sign: float, ceiling: float, start: np.ndarray, reach: int, out: np.ndarray) -> bool:
    """As `subtract`, of a frame of pixels of any type; compiled for each."""
    height, width = frame.shape
    factor, limit = np.float32(sign), np.float32(ceiling)
    wide = min((2 * reach + HALF) // HALF * HALF, width)
    clipped = 0
    for i in range(len(start)):
        left = min(max(int(start[i, 0]) - reach, 0), width - wide)
        for r in range(max(int(start[i, 1]) - reach, 0), min(int(start[i, 1]) + reach + 1, height)):
            at = unsigned(r)
            for c in range(unsigned(left), unsigned(left + wide)):
                grey = np.float32(frame[at, c])
                out[at, c] = factor * (grey - still[at, c])
                clipped += int(factor * grey >= limit)
    return clipped > 0


@jit(
    "boolean(uint8[:,::1], uint16[:,::1], float32[:,::1], float32[:,::1], float64, float64, float64[:,::1], int64, float32[:,::1])",
    **JIT,
)
def subtract(
    bytes_: np.ndarray,
    words: np.ndarray,
    floats: np.ndarray,
    still: np.ndarray,
    sign: float,
    ceiling: float,
    start: np.ndarray,
    reach: int,
    out: np.ndarray,
) -> bool:
    """Write ``sign * (frame - still)`` into `out` within `reach` of the starts along each axis.

    Return whether ``sign * frame`` reaches `ceiling` somewhere there.

    Parameters
    ----------
    bytes_, words, floats : (height, width) uint8, uint16 or float32, the frame; the other two (0, 0)
    still, out : (height, width) float32
    start : (n, 2 or more), x and y, px
    """
    if len(bytes_) > 0:
        return take_from(bytes_, still, sign, ceiling, start, reach, out)
    if len(words) > 0:
        return take_from(words, still, sign, ceiling, start, reach, out)
    return take_from(floats, still, sign, ceiling, start, reach, out)


@jit(**PART)
def saturated(still: np.ndarray, sign: float, ceiling: float) -> np.ndarray:
    """Return the least of a saturated pixel once its still background is taken off, (height, width) float32."""
    factor, limit = np.float32(sign), np.float32(ceiling)
    height, width = still.shape
    out = np.empty((height, width), np.float32)
    for r in range(height):
        for c in range(width):
            out[r, c] = limit - factor * still[r, c]
    return out


@jit(
    "Tuple((float64[:,::1], float64[:,::1]))(uint8[:,::1], uint16[:,::1], float32[:,::1], float32[:,::1], float64[:,::1], float64[::1], "
    "float64[::1], float32[:,::1], float32[:,::1], float64, float64, float64, float64, float64, float64, float64, float64, float64, "
    "float64, int64, int64, float64[:,::1], float32[:,::1], float32[:,::1])",
    **JIT,
)
def find_in_frame(
    bytes_: np.ndarray,
    words: np.ndarray,
    floats: np.ndarray,
    filtered: np.ndarray,
    level: np.ndarray,
    row_mid: np.ndarray,
    col_mid: np.ndarray,
    noise: np.ndarray,
    still: np.ndarray,
    sign: float,
    ceiling: float,
    factor: float,
    threshold: float,
    pixel_noise: float,
    filter_width: float,
    light_variance: float,
    misfit: float,
    stretch: float,
    width_prior: float,
    step: int,
    rim: int,
    found: np.ndarray,
    residual: np.ndarray,
    model: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the spots that stand the threshold, and what tells their light: (n, COLUMNS) and (n, DIAGNOSTICS) of `nta.kernels.fit`.

    Parameters
    ----------
    bytes_, words, floats, still, sign, ceiling : as in `subtract`
    filtered, level, row_mid, col_mid, noise, factor, threshold, step : as in `nta.kernels.maxima.find_maxima`
    pixel_noise, filter_width, light_variance, misfit, width_prior, rim : as in `nta.kernels.spots.fit_spots`
    stretch : SD along an axis of what single spots are longer than wide, a share of their width; infinite where none is taken for two
    found : (a quarter of the points or more, 5), to be written
    residual, model : (height, width) float32, room; `model` is zero, and is left so
    """
    # the peak may be on this side of the rim, the nearest point beyond
    n_found = find_maxima(filtered, level, row_mid, col_mid, noise, factor, threshold, step, max(1, rim // step - 1), found)
    most = np.empty((0, 0), np.float32)
    if subtract(bytes_, words, floats, still, sign, ceiling, found[:n_found], int(NEAR * filter_width) + 2, residual):
        most = saturated(still, sign, ceiling)
    capacity = 2 * n_found + 1
    spots, tells = np.empty((capacity, COLUMNS)), np.empty((capacity, DIAGNOSTICS))
    parent, lone = np.empty(capacity, np.int64), np.empty(capacity, np.uint8)
    n = fit_spots(
        residual, model, most, found, n_found, pixel_noise, threshold, filter_width, light_variance, misfit, width_prior, rim, spots, tells,
        parent, lone,
    )  # fmt: skip
    if math.isfinite(stretch):
        doubtful = np.empty(n, np.int64)
        m = find_doubtful(spots, n, filter_width, stretch, doubtful)
        if m > 0:
            start = np.empty((m, 2))
            for q in range(m):
                start[q, 0], start[q, 1] = spots[doubtful[q], 0], spots[doubtful[q], 1]
            reaches = subtract(bytes_, words, floats, still, sign, ceiling, start, int(WIDE * filter_width) + 3, residual)
            if reaches and len(most) == 0:
                most = saturated(still, sign, ceiling)
            n = look_again(
                residual, model, most, found, pixel_noise, threshold, filter_width, light_variance, misfit, stretch, width_prior, rim,
                spots, tells, parent, lone, n, doubtful, m,
            )  # fmt: skip
    wipe(model, spots, lone, n, int(math.ceil(CRUMBS * filter_width)))
    return spots[:n], tells[:n]
