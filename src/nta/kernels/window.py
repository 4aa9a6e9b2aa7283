"""A window of a frame: its pixels and their variance, light of other spots taken off, a spot drawn into it.

Windows lie in one array each, row by row, of a length that goes whole vectors at a time.
"""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import INNER, JIT, LANES, unsigned

SUMS = JIT | {"fastmath": {"reassoc", "contract", "nsz"}}
"""For kernels that only sum over a window: in any order, so that several pixels go at a time."""

UNKNOWN = 1e30  # variance of a pixel that tells nothing

CLIPPED, LIT = 1, 2
"""What there is in a window: saturated pixels, light of other spots."""


@jit("int64(int64)", **JIT)
def room_of(side: int) -> int:
    """Return the length of arrays that hold a window of side * side pixels, such that its rows and all of it go `LANES` at a time."""
    wide = (side + LANES - 1) // LANES * LANES
    return (max(side * side, (side - 1) * side + wide) + LANES - 1) // LANES * LANES


@jit("void(int64, float32[::1], float32[::1])", **INNER)
def number_pixels(side: int, column: np.ndarray, row: np.ndarray) -> None:
    """Write column and row of each pixel of a window."""
    for p in range(side * side):
        column[p], row[p] = p % side, p // side


@jit("void(float64, float64, float64, int64, float32[::1], float32[::1])", **JIT)
def draw(x: float, y: float, width: float, side: int, across: np.ndarray, shape: np.ndarray) -> None:
    """Write a Gaussian of peak 1 into a window; `across` is room for a row of it."""
    # exp(-(j - x)^2 / (2 s^2)) by its ratio to the last one, and that ratio by its own: three exponentials for a row
    per = 0.5 / (width * width)
    bend = math.exp(-2.0 * per)
    value, ratio = math.exp(-per * x * x), math.exp(per * (2.0 * x - 1.0))
    for j in range(side):
        across[j] = np.float32(value)
        value *= ratio
        ratio *= bend
    value, ratio = math.exp(-per * y * y), math.exp(per * (2.0 * y - 1.0))
    for i in range(side):
        down, row = np.float32(value), shape[i * side : (i + 1) * side]
        for j in range(side):
            row[j] = down * across[j]
        value *= ratio
        ratio *= bend


@jit("void(float32[:,::1], float64, float64, float64, float64, int64, float32[::1])", **JIT)
def add_spot(model: np.ndarray, x: float, y: float, peak: float, width: float, reach: int, across: np.ndarray) -> None:
    """Add a Gaussian to `model` within `reach` px of its centre's pixel; `across` is room for a row of it, or `room_of` one."""
    height, wide = model.shape
    side = 2 * reach + 1
    left, top = int(round(x)) - reach, int(round(y)) - reach
    lanes = (side + LANES - 1) // LANES * LANES
    fast = left >= 0 and left + lanes <= wide and len(across) >= lanes
    # as in `draw`
    per = 0.5 / (width * width)
    bend, away_x, away_y = math.exp(-2.0 * per), x - left, y - top
    value, ratio = math.exp(-per * away_x * away_x), math.exp(per * (2.0 * away_x - 1.0))
    for j in range(side):
        across[j] = np.float32(value)
        value *= ratio
        ratio *= bend
    for j in range(side, min(lanes, len(across))):
        across[j] = np.float32(0.0)
    value, ratio = peak * math.exp(-per * away_y * away_y), math.exp(per * (2.0 * away_y - 1.0))
    for r in range(top, top + side):
        down = np.float32(value)
        value *= ratio
        ratio *= bend
        if fast and 0 <= r < height:
            row, first = unsigned(r), unsigned(left)
            for j in range(unsigned(lanes)):
                model[row, first + j] += down * across[j]
        elif 0 <= r < height:
            for c in range(max(left, 0), min(left + side, wide)):
                model[r, c] += down * across[c - left]


@jit(
    "int64(float32[:,::1], float32[:,::1], float32[:,::1], float64, float64, float64, float64, int64, int64, int64, "
    "float32[::1], float32[::1])",
    **JIT,
)
def gather(
    image: np.ndarray,
    model: np.ndarray,
    most: np.ndarray,
    level: float,
    variance: float,
    light_variance: float,
    misfit2: float,
    left: int,
    top: int,
    side: int,
    value: np.ndarray,
    base: np.ndarray,
) -> int:
    """Copy a window of `image` less `model` and level, and the variance its pixels have without the spot.

    Return the sum of what there is in it: `CLIPPED`, saturated pixels, and `LIT`, light of the model there or close by. Pixels that are
    saturated or outside the image get the variance `UNKNOWN`, and so does what `value` and `base`, of `room_of` a window, have beyond it.
    A `model` of (0, 0) has no light.
    """
    height, width = image.shape
    clipped, lit = False, 0
    offset, floor = np.float32(level), np.float32(variance)
    per_light, per_light2 = np.float32(light_variance), np.float32(misfit2)
    nothing, unknown = np.float32(0.0), np.float32(UNKNOWN)
    wide = (side + LANES - 1) // LANES * LANES
    inside, dark = left >= 0 and left + wide <= width, model.shape[0] == 0
    for i in range(side):
        r, start = top + i, i * side
        if inside and 0 <= r < height and start + wide <= len(value):
            # what is beyond the window's row, the next one overwrites
            row, first, begin = unsigned(r), unsigned(left), unsigned(start)
            if dark:
                for j in range(unsigned(wide)):
                    value[begin + j] = image[row, first + j] - offset
                    base[begin + j] = floor
            for j in range(unsigned(0 if dark else wide)):
                other = model[row, first + j]
                value[begin + j] = image[row, first + j] - offset - other
                base[begin + j] = floor + other * per_light + per_light2 * other * other
                lit += int(other != nothing)
        else:
            for j in range(side):
                c = left + j
                value[start + j], base[start + j] = nothing, unknown
                if 0 <= r < height and 0 <= c < width:
                    other = nothing if dark else model[r, c]
                    value[start + j] = image[r, c] - offset - other
                    base[start + j] = floor + other * per_light + per_light2 * other * other
                    lit += int(other != nothing)
        if most.shape[0] > 0 and 0 <= r < height:
            n = 1
            if inside:
                n = 0
                row = unsigned(r)
                for column in range(unsigned(left), unsigned(left + side)):
                    n += int(image[row, column] >= most[row, column])
            for j in range(side if n > 0 else 0):
                c = left + j
                if 0 <= c < width and image[r, c] >= most[r, c]:
                    base[start + j] = unknown
                    clipped = True
    for p in range(side * side, len(value)):
        value[p], base[p] = nothing, unknown
    return (CLIPPED if clipped else 0) + (LIT if lit > 0 else 0)


@jit("float64(float32[:,::1], float32[:,::1], float32[:,::1], float64, float64, float64, float64, int64, int64, int64)", **SUMS)
def deviance(
    image: np.ndarray, model: np.ndarray, most: np.ndarray, level: float, variance: float, light_variance: float, misfit2: float,
    left: int, top: int, side: int,
) -> float:  # fmt: skip
    """Return minus twice the log-likelihood of a window under `model`, less its constant; saturated pixels left out."""
    height, width = image.shape
    total = 0.0
    offset, floor = np.float32(level), np.float32(variance)
    per_light, per_light2 = np.float32(light_variance), np.float32(misfit2)
    log_floor = math.log(variance)
    left, right = max(left, 0), min(left + side, width)
    for r in range(max(top, 0), min(top + side, height)):
        seen, drawn = image[r, left:right], model[r, left:right]
        product = 1.0  # of a row's variances over the background's: one logarithm for all
        for c in range(len(seen)):
            m = drawn[c]
            if most.shape[0] > 0 and seen[c] >= most[r, left + c]:
                continue
            v = floor + m * per_light + per_light2 * m * m
            away = seen[c] - offset - m
            total += away * away / v + log_floor
            product *= v / floor
        total += math.log(product)
    return total


@jit("float64(float64, int64)", **INNER)
def gain_of(width: float, reach: int) -> float:
    """Return the SD of white noise through a Gaussian cut off at `reach` px, over that of a pixel."""
    total = squares = 1.0
    for d in range(1, reach + 1):
        tap = math.exp(-0.5 * (d / width) ** 2)
        total += 2.0 * tap
        squares += 2.0 * tap * tap
    return squares / (total * total)
