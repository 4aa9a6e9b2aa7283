"""Fitted spots to those that are two: what is stretched, or does not fit, is looked at again."""

from __future__ import annotations

import math

import numpy as np
from numba import int64, jit

from nta.kernels import INNER, PART
from nta.kernels.fit import (
    ALONG,
    CLOSEST,
    COLUMNS,
    MISFIT,
    PEAK,
    SATURATED,
    SNR,
    STRETCH,
    TELLS_STRETCH,
    WIDTH,
    X,
    Y,
    climb,
)
from nta.kernels.pairs import BESIDE, PAIR_ROWS, find_hidden, fit_pair, near
from nta.kernels.spots import ASTRAY, POINTED, POINTED_PX, REACH, enter, has_near
from nta.kernels.window import CLIPPED, add_spot, deviance, draw, gain_of, gather, number_pixels, room_of

BEYOND = 2.0  # filter widths beyond a second spot that the two are compared with one in
STRETCHED = 12.0  # chi-square with two degrees of freedom; 1 in 400 single spots seems so stretched, and is looked at again
HIDDEN_SNR = 3.5  # in the filter, of what a spot's model leaves beside it: less is no second spot
HIDDEN_MISFIT = 3.0  # standard deviations by which the misfit of a spot must stand out before a second one beside it is looked for
TWO = 20.0  # chi-square with three degrees of freedom that two spots must fit better than one: 2 in 10,000 by chance


@jit("boolean(float64, float64, float64)", **INNER)
def is_long(stretch: float, tells: float, usual: float) -> bool:
    """Tell whether a spot is more stretched than single ones are, of `usual` SD, and noise makes them seem; `tells` as in the columns."""
    return stretch * stretch * tells > STRETCHED * (1.0 + usual * usual * tells)


@jit(**PART)
def find_doubtful(spots: np.ndarray, n: int, filter_width: float, stretch: float, doubtful: np.ndarray) -> int:
    """Write which of the first `n` spots may be two, and return how many.

    `stretch` is the SD along an axis of what single spots are longer than wide, a share of their width.
    """
    limit = 1.0 + HIDDEN_MISFIT * math.sqrt(2.0) / (2 * int(math.ceil(REACH * filter_width)) + 1)
    m = 0
    for k in range(n):
        if spots[k, MISFIT] >= limit or is_long(spots[k, STRETCH], spots[k, TELLS_STRETCH], stretch):
            doubtful[m] = k
            m += 1
    return m


@jit(**PART)
def look_again(
    image: np.ndarray,
    model: np.ndarray,
    most: np.ndarray,
    found: np.ndarray,
    pixel_noise: float,
    threshold: float,
    filter_width: float,
    light_variance: float,
    misfit: float,
    stretch: float,
    width_prior: float,
    rim: int,
    spots: np.ndarray,
    diagnostics: np.ndarray,
    parent: np.ndarray,
    lone: np.ndarray,
    n: int,
    doubtful: np.ndarray,
    m: int,
) -> int:
    """Fit two spots for one where that is far more likely, the new one after the `n` before; return how many spots there are then.

    All is as `nta.kernels.spots.fit_spots` left it, `image` wider about the first `m` of the `doubtful`, as `find_doubtful` wrote them.
    """
    height, width = image.shape
    reach = int(math.ceil(REACH * filter_width))
    side = 2 * reach + 1
    wide = int(math.ceil((BESIDE + BEYOND) * filter_width))
    wide_side = 2 * wide + 1
    n_room, n_wide = room_of(side), room_of(wide_side)
    value, base, shape = np.empty(n_room, np.float32), np.empty(n_room, np.float32), np.zeros(n_room, np.float32)
    value_wide, base_wide = np.empty(n_wide, np.float32), np.empty(n_wide, np.float32)
    across_wide, shape_wide = np.empty(wide_side, np.float32), np.empty(n_wide, np.float32)
    room = np.zeros((PAIR_ROWS, n_wide), np.float32)
    matrix, vector, moments, across = np.empty((8, 8)), np.empty(8), np.empty(6), np.empty(n_room, np.float32)
    old, light = np.empty(COLUMNS), np.empty(4)
    light[0], light[1], light[2], light[3] = light_variance, misfit * misfit, filter_width, width_prior
    grid = np.zeros((2, n_room), np.float32)
    number_pixels(side, grid[0], grid[1])
    centred = np.zeros(n_room, np.float32)
    draw(float(reach), float(reach), filter_width, side, across, centred)
    narrowest = min(POINTED * filter_width, POINTED_PX)
    misfit2, apart, astray = misfit * misfit, CLOSEST * filter_width, ASTRAY * filter_width
    alike2 = misfit2 * 4.0 * math.pi * filter_width * filter_width
    gain = gain_of(filter_width, reach)
    rows, columns = height // side + 1, width // side + 1
    head, following = np.full(rows * columns, -1, np.int64), np.empty(len(spots), np.int64)
    for k in range(n):
        enter(spots, k, head, following, columns, side)
    total = n
    for q in range(m):
        k = doubtful[q]
        own = 1.0 + stretch * stretch * spots[k, TELLS_STRETCH]
        long = is_long(spots[k, STRETCH], spots[k, TELLS_STRETCH], stretch)
        if total >= len(spots):
            break
        spot, new, level, sd = spots[k], spots[total], found[parent[k], 3], found[parent[k], 4] * pixel_noise
        variance = sd * sd
        for column in range(COLUMNS):
            old[column], new[column] = spot[column], 0.0
        if lone[k]:
            add_spot(model, spot[X], spot[Y], spot[PEAK], spot[WIDTH], reach, across)
            lone[k] = 0
        left_wide, top_wide = int64(round(spot[X])) - wide, int64(round(spot[Y])) - wide
        alone = deviance(image, model, most, level, variance, light_variance, misfit2, left_wide, top_wide, wide_side)
        alone += width_prior * math.log(spot[WIDTH] / filter_width) ** 2
        for attempt in range(2):
            if attempt == 0 and not long:
                continue
            add_spot(model, old[X], old[Y], -old[PEAK], old[WIDTH], reach, across)
            if attempt == 0:
                # two of a kind on either side
                away_x, away_y = filter_width * math.cos(old[ALONG]), filter_width * math.sin(old[ALONG])
                spot[X], spot[Y], spot[PEAK], spot[WIDTH] = old[X] - away_x, old[Y] - away_y, 0.6 * old[PEAK], filter_width
                new[X], new[Y], new[PEAK], new[WIDTH] = old[X] + away_x, old[Y] + away_y, 0.6 * old[PEAK], filter_width
            else:
                # a faint one beside it
                gather(image, model, most, level, variance, light_variance, alike2, left_wide, top_wide, wide_side, value_wide, base_wide)
                seen = find_hidden(
                    value_wide, base_wide, left_wide, top_wide, wide_side, filter_width, old, new, across_wide, shape_wide, room
                )
                if seen < HIDDEN_SNR:
                    add_spot(model, old[X], old[Y], old[PEAK], old[WIDTH], reach, across)
                    break
                new[PEAK], new[WIDTH] = 0.3 * old[PEAK], filter_width
            clipped = gather(
                image, model, most, level, variance, light_variance, misfit2, left_wide, top_wide, wide_side, value_wide, base_wide
            )
            kept = fit_pair(
                value_wide, base_wide, left_wide, top_wide, wide_side, light, spot, new, matrix, vector, across_wide, room
            ) and near(spot, new, found[parent[k], 0], found[parent[k], 1], astray + BESIDE * filter_width)
            both = alone
            if kept:
                # each by itself, the other in the model
                for turn in range(2):
                    one, other = (spot, new) if turn == 0 else (new, spot)
                    add_spot(model, other[X], other[Y], other[PEAK], other[WIDTH], reach, across)
                    left, top = int64(round(one[X])) - reach, int64(round(one[Y])) - reach
                    gather(image, model, most, level, variance, light_variance, alike2, left, top, side, value, base)
                    climb(value, base, left, top, side, filter_width, sd * gain, variance, 0, one, centred, moments, across, shape, grid)
                    if turn == 0:
                        add_spot(model, other[X], other[Y], -other[PEAK], other[WIDTH], reach, across)
                add_spot(model, new[X], new[Y], new[PEAK], new[WIDTH], reach, across)
                both = deviance(image, model, most, level, variance, light_variance, misfit2, left_wide, top_wide, wide_side)
                both += width_prior * (math.log(spot[WIDTH] / filter_width) ** 2 + math.log(new[WIDTH] / filter_width) ** 2)
            if (
                alone - both > TWO * own
                and min(spot[SNR], new[SNR]) >= threshold
                and (new[X] - spot[X]) ** 2 + (new[Y] - spot[Y]) ** 2 > apart * apart
                and min(new[WIDTH], spot[WIDTH]) > narrowest
                and rim <= min(new[X], spot[X])
                and max(new[X], spot[X]) <= width - 1 - rim
                and rim <= min(new[Y], spot[Y])
                and max(new[Y], spot[Y]) <= height - 1 - rim
                and not has_near(spots, head, following, rows, columns, side, new[X], new[Y], apart, k)
            ):
                spot[SATURATED] = new[SATURATED] = 1.0 if clipped & CLIPPED else 0.0
                for column in range(diagnostics.shape[1]):
                    diagnostics[total, column] = 0.0
                parent[total], lone[total] = parent[k], 0
                enter(spots, total, head, following, columns, side)
                total += 1
                break
            if kept:
                add_spot(model, new[X], new[Y], -new[PEAK], new[WIDTH], reach, across)
                add_spot(model, spot[X], spot[Y], -spot[PEAK], spot[WIDTH], reach, across)
            for column in range(COLUMNS):
                spot[column] = old[column]
            add_spot(model, spot[X], spot[Y], spot[PEAK], spot[WIDTH], reach, across)
    return total
