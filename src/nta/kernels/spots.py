"""The maxima of a frame to its spots: brightest first, each fitted with the others subtracted."""

from __future__ import annotations

import math

import numpy as np
from numba import int64, jit

from nta.kernels import INNER, JIT, PART, unsigned
from nta.kernels.fit import (
    CLOSEST,
    COLUMNS,
    MISFIT,
    PEAK,
    SATURATED,
    SNR,
    WIDTH,
    X_SD,
    Y_SD,
    X,
    Y,
    climb,
    fit_gaussian,
)
from nta.kernels.window import CLIPPED, LIT, add_spot, draw, gain_of, gather, number_pixels, room_of

CLIMBING_STEPS = 1
REACH = 3.0  # filter widths about a spot that its fit looks at
ASTRAY = 1.5  # filter widths; a fit that ends farther from its maximum fits something else
POINTED, POINTED_PX = 0.5, 0.5  # filter widths, px; light that is narrower than both is of one pixel and did not come through the lens
SWEEPS = 2  # fits of spots with neighbours after the first


@jit("void(float64[:,::1], int64, int64[::1], int64[::1], int64, int64)", **INNER)
def enter(spots: np.ndarray, k: int, head: np.ndarray, following: np.ndarray, columns: int, cell: int) -> None:
    """Put spot `k` into the list of its cell."""
    i = int64(spots[k, Y]) // cell * columns + int64(spots[k, X]) // cell
    following[k] = head[i]
    head[i] = k


@jit("boolean(float64[:,::1], int64[::1], int64[::1], int64, int64, int64, float64, float64, float64, int64)", **JIT)
def has_near(
    spots: np.ndarray,
    head: np.ndarray,
    following: np.ndarray,
    rows: int,
    columns: int,
    cell: int,
    x: float,
    y: float,
    within: float,
    own: int,
) -> bool:
    """Tell whether a spot other than `own` lies closer than `within`, at most a cell, to a place; cells are lists of spots."""
    i, j = int(y) // cell, int(x) // cell
    for a in range(max(i - 1, 0), min(i + 2, rows)):
        for b in range(max(j - 1, 0), min(j + 2, columns)):
            k = head[a * columns + b]
            while k >= 0:
                if k != own and (spots[k, X] - x) ** 2 + (spots[k, Y] - y) ** 2 < within * within:
                    return True
                k = following[k]
    return False


@jit(
    "int64(float32[:,::1], float32[:,::1], float32[:,::1], float64[::1], float64[::1], float64[::1], float64[::1], int64, int64, "
    "float32[::1], float32[::1], float64[:,::1], float64[::1], float32[::1], float32[::1], float32[:,::1])",
    **INNER,
)
def refit(
    image: np.ndarray,
    model: np.ndarray,
    most: np.ndarray,
    place: np.ndarray,
    light: np.ndarray,
    spot: np.ndarray,
    tells: np.ndarray,
    reach: int,
    known: int,
    value: np.ndarray,
    base: np.ndarray,
    matrix: np.ndarray,
    vector: np.ndarray,
    across: np.ndarray,
    shape: np.ndarray,
    grid: np.ndarray,
) -> int:
    """Fit a spot that is not in the model from where it is; return 0 where there is nothing, 2 where pixels are saturated, else 1.

    `place` is level and variance of a pixel there, `light` the variance of light, squared misfit, filter width and precision of ln width,
    `known` what `gather` told of the window where `value` and `base` hold it already, else negative.
    """
    side = 2 * reach + 1
    left, top = int64(round(spot[X])) - reach, int64(round(spot[Y])) - reach
    if known < 0:
        known = gather(image, model, most, place[0], place[1], light[0], light[1], left, top, side, value, base)
    there = fit_gaussian(
        value, base, left, top, side, light[0], light[1], light[2], light[3], spot, tells, matrix, vector, across, shape, grid
    )
    return 0 if not there else 2 if known & CLIPPED else 1


@jit(**PART)
def fit_spots(
    image: np.ndarray,
    model: np.ndarray,
    most: np.ndarray,
    found: np.ndarray,
    n_found: int,
    pixel_noise: float,
    threshold: float,
    filter_width: float,
    light_variance: float,
    misfit: float,
    width_prior: float,
    rim: int,
    spots: np.ndarray,
    diagnostics: np.ndarray,
    parent: np.ndarray,
    lone: np.ndarray,
) -> int:
    """Fit a spot at each maximum, each with those before it subtracted, and return how many stand the threshold.

    Parameters
    ----------
    image : (height, width) float32, particles positive
    model : (height, width) float32, zero; spots that have others near are added to it
    most : of the same shape, the least value of a saturated pixel; (0, 0) where none can be told
    found : (n_found or more, 5), as `nta.kernels.maxima.find_maxima` writes it
    pixel_noise : SD of a pixel over that of the filtered image
    light_variance : variance that light of one grey level adds
    misfit : SD of a pixel about the model by other reasons, as a share of the model
    width_prior : precision of a spot's ln width about the filter's
    rim : px from the edges in which no spot counts
    spots, diagnostics : (capacity, COLUMNS) and (capacity, DIAGNOSTICS) of `nta.kernels.fit`, capacity n_found or more; written
    parent, lone : (capacity,), which of the maxima each spot is of, and whether it is not in the model; written
    """
    height, width = image.shape
    reach = int(math.ceil(REACH * filter_width))
    side = 2 * reach + 1
    n_room = room_of(side)
    value, base, shape = np.empty(n_room, np.float32), np.empty(n_room, np.float32), np.zeros(n_room, np.float32)
    matrix, vector, moments, across = np.empty((4, 4)), np.empty(4), np.empty(6), np.empty(n_room, np.float32)
    old, place, light = np.empty(COLUMNS), np.empty(2), np.empty(4)
    light[0], light[1], light[2], light[3] = light_variance, misfit * misfit, filter_width, width_prior
    grid = np.zeros((2, n_room), np.float32)
    number_pixels(side, grid[0], grid[1])
    centred = np.zeros(n_room, np.float32)
    draw(float(reach), float(reach), filter_width, side, across, centred)
    narrowest = min(POINTED * filter_width, POINTED_PX)
    misfit2, apart, astray = misfit * misfit, CLOSEST * filter_width, ASTRAY * filter_width
    # what a model lacks is alike in neighbouring pixels: the filter does not average it as it does noise
    alike2 = misfit2 * 4.0 * math.pi * filter_width * filter_width
    gain = gain_of(filter_width, reach)
    rows, columns = height // side + 1, width // side + 1
    head, following = np.full(rows * columns, -1, np.int64), np.empty(len(spots), np.int64)
    # two that do not share a pixel of their windows, wherever they end
    clear = int(math.ceil(math.sqrt(2.0) * (side + 2.0 * astray)))
    rows_found, columns_found = height // clear + 1, width // clear + 1
    head_found, following_found = np.full(rows_found * columns_found, -1, np.int64), np.empty(n_found, np.int64)
    for i in range(n_found):
        enter(found, i, head_found, following_found, columns_found, clear)
    nothing = np.empty((0, 0), np.float32)
    n = 0
    for i in range(n_found):
        alone = not has_near(
            found, head_found, following_found, rows_found, columns_found, clear, found[i, X], found[i, Y], float(clear), i
        )
        others = nothing if alone else model
        spot = spots[n]
        for column in range(COLUMNS):
            spot[column] = 0.0
        spot[X], spot[Y], level, sd = found[i, 0], found[i, 1], found[i, 3], found[i, 4] * pixel_noise
        variance = sd * sd
        left, top = int64(round(spot[X])) - reach, int64(round(spot[Y])) - reach
        known = gather(image, others, most, level, variance, light_variance, alike2, left, top, side, value, base)
        climb(value, base, left, top, side, filter_width, sd * gain, variance, CLIMBING_STEPS, spot, centred, moments, across, shape, grid)
        if not spot[SNR] >= threshold or has_near(spots, head, following, rows, columns, side, spot[X], spot[Y], apart, n):
            continue
        spot[WIDTH] = filter_width
        spot[X_SD] = spot[Y_SD] = math.sqrt(2.0) * filter_width / spot[SNR]
        spot[MISFIT] = 1.0
        for column in range(COLUMNS):
            old[column] = spot[column]
        place[0], place[1] = level, variance
        if known & LIT or left != int64(round(spot[X])) - reach or top != int64(round(spot[Y])) - reach:
            known = -1
        told = refit(
            image, others, most, place, light, spot, diagnostics[n], reach, known, value, base, matrix, vector, across, shape, grid
        )
        if told == 0 or spot[WIDTH] < narrowest:
            continue
        if (spot[X] - found[i, 0]) ** 2 + (spot[Y] - found[i, 1]) ** 2 > astray * astray or has_near(
            spots, head, following, rows, columns, side, spot[X], spot[Y], apart, n
        ):
            # among neighbours that are not subtracted yet; it is fitted again when they are
            for column in range(COLUMNS):
                spot[column] = old[column]
        if not (rim <= spot[X] <= width - 1 - rim and rim <= spot[Y] <= height - 1 - rim):
            continue
        spot[SATURATED] = 1.0 if told == 2 else 0.0
        parent[n], lone[n] = i, alone
        if not alone:
            add_spot(model, spot[X], spot[Y], spot[PEAK], spot[WIDTH], reach, across)
        enter(spots, n, head, following, columns, side)
        n += 1
    crowded = np.zeros(n, np.bool_)
    for k in range(n):
        crowded[k] = has_near(spots, head, following, rows, columns, side, spots[k, X], spots[k, Y], float(side), k)
    for _ in range(SWEEPS):
        for k in range(n):
            if not crowded[k]:
                continue
            spot = spots[k]
            place[0], place[1] = found[parent[k], 3], (found[parent[k], 4] * pixel_noise) ** 2
            add_spot(model, spot[X], spot[Y], -spot[PEAK], spot[WIDTH], reach, across)
            for column in range(COLUMNS):
                old[column] = spot[column]
            refit(image, model, most, place, light, spot, diagnostics[k], reach, -1, value, base, matrix, vector, across, shape, grid)
            if (spot[X] - found[parent[k], 0]) ** 2 + (spot[Y] - found[parent[k], 1]) ** 2 > astray * astray:
                for column in range(COLUMNS):
                    spot[column] = old[column]
            add_spot(model, spot[X], spot[Y], spot[PEAK], spot[WIDTH], reach, across)
    return n


@jit(**PART)
def wipe(model: np.ndarray, spots: np.ndarray, lone: np.ndarray, n: int, reach: int) -> None:
    """Set `model` to zero within `reach` px of those of the first `n` spots that are in it, not `lone`: taken off, they leave crumbs."""
    height, width = model.shape
    for k in range(n):
        if lone[k]:
            continue
        left, right = max(int64(round(spots[k, X])) - reach, 0), min(int64(round(spots[k, X])) + reach + 1, width)
        for r in range(max(int64(round(spots[k, Y])) - reach, 0), min(int64(round(spots[k, Y])) + reach + 1, height)):
            for c in range(unsigned(left), unsigned(right)):
                model[unsigned(r), c] = np.float32(0.0)
