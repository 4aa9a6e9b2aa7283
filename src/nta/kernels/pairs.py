"""A window of a frame to two spots: the one that hides beside another, and both fitted at once."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import INNER, JIT
from nta.kernels.fit import (
    CLOSEST,
    CONVERGED,
    MISFIT,
    NOWHERE,
    PEAK,
    SCORING_STEPS,
    STRETCH,
    TELLS_STRETCH,
    WIDTH,
    X_SD,
    Y_SD,
    X,
    Y,
    error,
)
from nta.kernels.window import SUMS, UNKNOWN, draw, number_pixels

BESIDE = 4.0  # filter widths from a spot to where a second one is looked for: farther off it has a maximum of its own
COLUMN, ROW, WEIGHT, REST, WEIGHTED, SLOPES, PAIR_ROWS = 0, 1, 2, 3, 4, 5, 13
"""Rows of the room in which two spots are fitted: of each pixel its place, weight, residual, and slopes by the eight parameters."""
FAINT = 1e-4  # of a spot's peak: pixels in which neither is brighter tell nothing of them


@jit("boolean(float64[::1], float64[::1], float64, float64, float64)", **INNER)
def near(one: np.ndarray, other: np.ndarray, x: float, y: float, within: float) -> bool:
    """Tell whether two spots are both within a distance of a place."""
    first = (one[X] - x) ** 2 + (one[Y] - y) ** 2
    second = (other[X] - x) ** 2 + (other[Y] - y) ** 2
    return first <= within * within and second <= within * within


@jit(
    "float64(float32[::1], float32[::1], int64, int64, int64, float64, float64[::1], float64[::1], float32[::1], float32[::1], "
    "float32[:,::1])",
    **INNER,
)
def find_hidden(
    value: np.ndarray,
    base: np.ndarray,
    left: int,
    top: int,
    side: int,
    filter_width: float,
    spot: np.ndarray,
    found: np.ndarray,
    across: np.ndarray,
    shape: np.ndarray,
    room: np.ndarray,
) -> float:
    """Find the pixel at which a window less a spot's model is highest in the matched filter, and return its signal-to-noise there.

    The place is sought between `CLOSEST` and `BESIDE` filter widths of the spot. The last three arrays are room to work in, (side,),
    and (side * side or more,) and four rows or more of that.
    """
    span = int(math.ceil(2.0 * filter_width))
    taps = np.empty(2 * span + 1, np.float32)
    for d in range(2 * span + 1):
        taps[d] = math.exp(-0.5 * ((d - span) / filter_width) ** 2)
    draw(spot[X] - left, spot[Y] - top, spot[WIDTH], side, across, shape)
    peak, nothing, unknown = np.float32(spot[PEAK]), np.float32(0.0), np.float32(UNKNOWN)
    rest, variance, down, down_variance = room[0], room[1], room[2], room[3]
    for p in range(side * side):
        known = base[p] < unknown
        rest[p] = value[p] - peak * shape[p] if known else nothing
        variance[p] = base[p] if known else nothing
        down[p] = down_variance[p] = nothing
    inner = side - span
    for d in range(-span, span + 1):
        g = taps[d + span]
        for p in range(span * side, inner * side):
            down[p] += g * rest[p + d * side]
            down_variance[p] += g * g * variance[p + d * side]
    best = 0.0
    for i in range(span, inner):
        for j in range(span, inner):
            away2 = (left + j - spot[X]) ** 2 + (top + i - spot[Y]) ** 2
            if away2 < (CLOSEST * filter_width) ** 2 or away2 > (BESIDE * filter_width) ** 2:
                continue
            total = spread = 0.0
            for d in range(-span, span + 1):
                g = taps[d + span]
                total += g * down[i * side + j + d]
                spread += g * g * down_variance[i * side + j + d]
            snr = total / math.sqrt(max(spread, 1e-30))
            if snr > best:
                best = snr
                found[X], found[Y] = left + j, top + i
    return best


@jit("boolean(float64[:,::1], float64[::1])", **JIT)
def solve(matrix: np.ndarray, vector: np.ndarray) -> bool:
    """Turn a symmetric positive matrix into its inverse and `vector` into the solution, in place (Gauss and Jordan); false if singular."""
    n = len(vector)
    for k in range(n):
        pivot = matrix[k, k]
        if not pivot > 1e-300:
            return False
        matrix[k, k] = 1.0
        for j in range(n):
            matrix[k, j] /= pivot
        vector[k] /= pivot
        for i in range(n):
            if i != k:
                factor = matrix[i, k]
                matrix[i, k] = 0.0
                for j in range(n):
                    matrix[i, j] -= factor * matrix[k, j]
                vector[i] -= factor * vector[k]
    return True


@jit("Tuple((float64, float64))(float32[::1], float32[::1], float64[::1], float64[::1], float32[:,::1])", **SUMS | INNER)
def slopes(value: np.ndarray, base: np.ndarray, light: np.ndarray, p: np.ndarray, room: np.ndarray) -> tuple[float, float]:
    """Write by pixel weight, residual, and slopes of the model of two spots of parameters `p`; return chi-square and number of pixels.

    The shapes of the two are in `room` where their slopes by peak belong, which they are.
    """
    chi2 = count = np.float32(0.0)
    nothing, one, faint, unknown = np.float32(0.0), np.float32(1.0), np.float32(FAINT), np.float32(UNKNOWN)
    per_light, misfit2 = np.float32(light[0]), np.float32(light[1])
    weights, rests = room[WEIGHT], room[REST]
    first, second = room[SLOPES], room[SLOPES + 4]
    peak, other_peak = np.float32(p[0]), np.float32(p[4])
    for i in range(len(value)):
        m = peak * first[i] + other_peak * second[i]
        there = one if base[i] < unknown and max(first[i], second[i]) >= faint else nothing
        weight = there / (base[i] + m * per_light + misfit2 * m * m)
        rest = value[i] - m
        chi2 += rest * rest * weight
        count += there
        weights[i], rests[i] = weight, rest
    for at in (0, 4):
        shape, by_x, by_y, by_width = room[SLOPES + at], room[SLOPES + at + 1], room[SLOPES + at + 2], room[SLOPES + at + 3]
        x, y, height = np.float32(p[at + 1]), np.float32(p[at + 2]), np.float32(p[at] * math.exp(-2.0 * p[at + 3]))
        columns, rows = room[COLUMN], room[ROW]
        for i in range(len(value)):
            dx, dy = columns[i] - x, rows[i] - y
            here = height * shape[i]
            by_x[i], by_y[i], by_width[i] = here * dx, here * dy, here * (dx * dx + dy * dy)
    return float(chi2), float(count)


@jit("void(float32[:,::1], float64[:,::1], float64[::1])", **SUMS | INNER)
def sums(room: np.ndarray, matrix: np.ndarray, vector: np.ndarray) -> None:
    """Write Fisher information and score of the eight parameters of two spots from what `slopes` wrote."""
    weight, rest, weighted = room[WEIGHT], room[REST], room[WEIGHTED]
    for i in range(8):
        slope = room[SLOPES + i]
        along = np.float32(0.0)
        for pixel in range(len(weight)):
            weighted[pixel] = weight[pixel] * slope[pixel]
            along += weighted[pixel] * rest[pixel]
        vector[i] = along
        for j in range(i + 1):
            other = room[SLOPES + j]
            total = np.float32(0.0)
            for pixel in range(len(weight)):
                total += weighted[pixel] * other[pixel]
            matrix[i, j] = matrix[j, i] = total


@jit(
    "boolean(float32[::1], float32[::1], int64, int64, int64, float64[::1], float64[::1], float64[::1], float64[:,::1], float64[::1], "
    "float32[::1], float32[:,::1])",
    **JIT,
)
def fit_pair(
    value: np.ndarray,
    base: np.ndarray,
    left: int,
    top: int,
    side: int,
    light: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    matrix: np.ndarray,
    vector: np.ndarray,
    across: np.ndarray,
    room: np.ndarray,
) -> bool:
    """Fit two round Gaussians to a window at once, starting from `one` and `other`, and write them with their errors; false without result.

    Fisher scoring as `nta.kernels.fit.fit_gaussian`, of eight parameters: the errors hold what two spots that overlap take from each other.

    Parameters
    ----------
    value, base : (side * side or more,) float32, window without either spot, and the variance its pixels have then
    light : variance of light, squared misfit, filter width, precision of ln width
    matrix, vector, across, room : to work in, (8, 8), (8,), (side,) and (`PAIR_ROWS`, as many as `value`), zero beyond the window
    """
    p = np.empty(8)
    number_pixels(side, room[COLUMN], room[ROW])
    for k, spot in ((0, one), (4, other)):
        p[k], p[k + 1], p[k + 2], p[k + 3] = spot[PEAK], spot[X] - left, spot[Y] - top, math.log(spot[WIDTH])
    log_filter = math.log(light[2])
    chi2, n = 0.0, 0.0
    for _ in range(SCORING_STEPS):
        for k in range(2):
            draw(p[4 * k + 1], p[4 * k + 2], math.exp(p[4 * k + 3]), side, across, room[SLOPES + 4 * k])
        chi2, n = slopes(value, base, light, p, room)
        sums(room, matrix, vector)
        for at in (3, 7):
            matrix[at, at] += light[3]
            vector[at] -= light[3] * (p[at] - log_filter)
        if not solve(matrix, vector):
            return False
        done = True
        for i in range(8):
            if not (math.isfinite(vector[i]) and matrix[i, i] > 0.0):
                return False
            done &= vector[i] ** 2 < CONVERGED**2 * matrix[i, i]
        for at in (0, 4):
            furthest = 0.7 * math.exp(p[at + 3])
            p[at] += max(vector[at], -0.7 * p[at])
            for i in (at + 1, at + 2):
                p[i] = min(max(p[i] + min(max(vector[i], -furthest), furthest), 0.0), side - 1.0)
            p[at + 3] += min(max(vector[at + 3], -0.4), 0.4)
        if done:
            break
    for k, spot in ((0, one), (4, other)):
        if matrix[k + 1, k + 1] + matrix[k + 2, k + 2] > NOWHERE:
            return False
        spot[PEAK], spot[X], spot[Y], spot[WIDTH] = p[k], left + p[k + 1], top + p[k + 2], math.exp(p[k + 3])
        spot[X_SD], spot[Y_SD] = error(matrix[k + 1, k + 1], spot[WIDTH]), error(matrix[k + 2, k + 2], spot[WIDTH])
        spot[MISFIT], spot[STRETCH], spot[TELLS_STRETCH] = chi2 / max(n, 1.0), 0.0, 0.0
    return True
