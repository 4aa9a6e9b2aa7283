"""A window of a frame to a spot: the maximum of a matched filter, and a Gaussian fitted by Fisher scoring."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import INNER, JIT
from nta.kernels.window import SUMS, UNKNOWN, draw

CLOSEST = 1.0  # filter widths; closer than that two spots are one
NOWHERE = 1e6  # px^2, variance of a place that is none

X, Y, X_SD, Y_SD, PEAK, SNR, WIDTH, MISFIT, SATURATED, STRETCH, ALONG, TELLS_STRETCH, COLUMNS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
"""Columns of a fitted spot; MISFIT is the mean squared residual over its variance in the window, of a good fit 1. STRETCH is by how much
the spot seems longer than wide, a share of its width, in the direction ALONG (rad), and TELLS_STRETCH the Fisher information on it."""
EXCESS, LIGHT, MISFITS, DIAGNOSTICS = 0, 1, 2, 3
"""Columns of what tells noise of light from misfit: sums of the model times squared residual less background variance, and of the
model's second and third powers, which are the model times the variance that light and misfit add."""

SCORING_STEPS = 12
SECOND_ORDER = 2.5  # times squared error over squared width: the share by which the inverse information is too small; `error`
CONVERGED = 0.1  # of a standard error: the last step is shorter, and what is left after it far more so


@jit("float64(float64, float64)", **JIT)
def error(variance: float, width: float) -> float:
    """Return the error of x, px, where the inverse information at the fitted height is `variance`, px^2; `width` of the spot.

    To the second order in noise, for white noise and a known width, ``variance (1 + 5 e)``, ``e = variance / (2 width^2)``: the place is
    where the filtered frame is highest, whose slope and curvature are noisy, ``1 + 4 e``, and whose height is too high there, ``1 + e``.
    """
    return math.sqrt(variance * (1.0 + SECOND_ORDER * variance / (width * width)))


@jit("void(float64[:,::1], float64[::1])", **JIT)
def solve4(matrix: np.ndarray, vector: np.ndarray) -> None:
    """Solve a symmetric positive 4x4 system in place by LDL^T; the diagonal of `matrix` becomes that of its inverse."""
    n = 4
    for j in range(n):
        for k in range(j):
            matrix[j, j] -= matrix[j, k] * matrix[j, k] * matrix[k, k]
        matrix[j, j] = max(matrix[j, j], 1e-300)
        for i in range(j + 1, n):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k] * matrix[k, k]
            matrix[i, j] /= matrix[j, j]
    for i in range(n):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
    for i in range(n):
        vector[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= matrix[k, i] * vector[k]
    # columns of the inverse of the unit triangle, kept above the diagonal
    for j in range(n):
        for i in range(j + 1, n):
            total = matrix[i, j]
            for k in range(j + 1, i):
                total += matrix[i, k] * matrix[j, k]
            matrix[j, i] = -total
    for j in range(n):
        total = 1.0 / matrix[j, j]
        for i in range(j + 1, n):
            total += matrix[j, i] * matrix[j, i] / matrix[i, i]
        matrix[j, j] = total


@jit(
    "void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], float64, float64, float64, float64[:,::1], float64[::1], "
    "float32[::1])",
    **SUMS,
)
def score(
    value: np.ndarray,
    base: np.ndarray,
    shape: np.ndarray,
    column: np.ndarray,
    row: np.ndarray,
    peak: float,
    light_variance: float,
    misfit2: float,
    matrix: np.ndarray,
    vector: np.ndarray,
    place: np.ndarray,
) -> None:
    """Write Fisher information and score of peak, x, y and ln width of a window; `place` is x, y and one over the width squared."""
    jaa = jax = jay = jaq = jxx = jxy = jxq = jyy = jyq = jqq = np.float32(0.0)
    ga = gx = gy = gq = np.float32(0.0)
    height, per_light, per_light2 = np.float32(peak), np.float32(light_variance), np.float32(misfit2)
    x, y, per = place[0], place[1], place[2]
    one = np.float32(1.0)
    for p in range(len(value)):
        away_x, away_y = column[p] - x, row[p] - y
        m = height * shape[p]
        weight = one / (base[p] + m * per_light + per_light2 * m * m)
        pull = (value[p] - m) * weight
        mx, my = m * away_x * per, m * away_y * per
        mq = mx * away_x + my * away_y
        wa, wx, wy = weight * shape[p], weight * mx, weight * my
        jaa += wa * shape[p]
        jax += wa * mx
        jay += wa * my
        jaq += wa * mq
        jxx += wx * mx
        jxy += wx * my
        jxq += wx * mq
        jyy += wy * my
        jyq += wy * mq
        jqq += weight * mq * mq
        ga += pull * shape[p]
        gx += pull * mx
        gy += pull * my
        gq += pull * mq
    matrix[0, 0], matrix[1, 1], matrix[2, 2], matrix[3, 3] = jaa, jxx, jyy, jqq
    matrix[1, 0], matrix[2, 0], matrix[3, 0] = jax, jay, jaq
    matrix[2, 1], matrix[3, 1], matrix[3, 2] = jxy, jxq, jyq
    vector[0], vector[1], vector[2], vector[3] = ga, gx, gy, gq


@jit(
    "void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], float64, float64, float64, float32[::1], float64[::1], "
    "float64[::1])",
    **SUMS,
)
def judge(
    value: np.ndarray,
    base: np.ndarray,
    shape: np.ndarray,
    column: np.ndarray,
    row: np.ndarray,
    peak: float,
    light_variance: float,
    misfit2: float,
    place: np.ndarray,
    spot: np.ndarray,
    diagnostic: np.ndarray,
) -> None:
    """Write how well the model fits into `spot`, and the sums of `DIAGNOSTICS`; `place` is x, y and one over the width squared."""
    chi2 = known = excess = light = misfits = np.float32(0.0)
    plus = cross = of_plus = of_cross = np.float32(0.0)
    height, per_light, per_light2 = np.float32(peak), np.float32(light_variance), np.float32(misfit2)
    nothing, one, two, unknown = np.float32(0.0), np.float32(1.0), np.float32(2.0), np.float32(UNKNOWN)
    x, y, per = place[0], place[1], place[2]
    for p in range(len(value)):
        away_x, away_y = column[p] - x, row[p] - y
        m = height * shape[p]
        left_over = value[p] - m
        squared = left_over * left_over
        there = one if base[p] < unknown else nothing
        weight = there / (base[p] + m * per_light + per_light2 * m * m)
        chi2 += squared * weight
        known += there
        lit = there * m
        excess += lit * (squared - base[p])
        light += lit * m
        misfits += lit * m * m
        # how the model changes as it is stretched along x, and along the diagonal; both are orthogonal to all that was fitted
        along, across = m * (away_x * away_x - away_y * away_y) * per, two * m * away_x * away_y * per
        plus += left_over * weight * along
        cross += left_over * weight * across
        of_plus += weight * along * along
        of_cross += weight * across * across
    spot[MISFIT] = chi2 / max(known, one)
    plus /= max(of_plus, np.float32(1e-30))
    cross /= max(of_cross, np.float32(1e-30))
    spot[STRETCH], spot[ALONG] = math.hypot(plus, cross), 0.5 * math.atan2(cross, plus)
    spot[TELLS_STRETCH] = 0.5 * (of_plus + of_cross)
    diagnostic[EXCESS], diagnostic[LIGHT], diagnostic[MISFITS] = excess, light, misfits


@jit(
    "boolean(float32[::1], float32[::1], int64, int64, int64, float64, float64, float64, float64, float64[::1], float64[::1], "
    "float64[:,::1], float64[::1], float32[::1], float32[::1], float32[:,::1])",
    **JIT,
)
def fit_gaussian(
    value: np.ndarray,
    base: np.ndarray,
    left: int,
    top: int,
    side: int,
    light_variance: float,
    misfit2: float,
    filter_width: float,
    width_prior: float,
    spot: np.ndarray,
    diagnostic: np.ndarray,
    matrix: np.ndarray,
    vector: np.ndarray,
    across: np.ndarray,
    shape: np.ndarray,
    grid: np.ndarray,
) -> bool:
    """Fit position, peak and width of a round Gaussian to a window, starting from `spot`, and write them with their errors into it.

    Fisher scoring with the variance ``base + m light_variance + m^2 misfit2`` of a pixel of model height m, and a log-normal prior on
    the width about `filter_width`, of precision `width_prior`. The last arrays are room to work in, `grid` the columns and rows of the
    pixels. Return whether there was anything to fit; `spot` is left alone where not.
    """
    x, y, peak, log_width = spot[X] - left, spot[Y] - top, spot[PEAK], math.log(spot[WIDTH])
    log_filter = math.log(filter_width)
    place = np.empty(3, np.float32)
    for _ in range(SCORING_STEPS):
        width = math.exp(log_width)
        draw(x, y, width, side, across, shape)
        place[0], place[1], place[2] = x, y, 1.0 / (width * width)
        score(value, base, shape, grid[0], grid[1], peak, light_variance, misfit2, matrix, vector, place)
        matrix[3, 3] += width_prior
        vector[3] -= width_prior * (log_width - log_filter)
        solve4(matrix, vector)
        if not (math.isfinite(vector[0] + vector[1] + vector[2] + vector[3]) and matrix[1, 1] + matrix[2, 2] < NOWHERE):
            return False
        done = vector[1] ** 2 < CONVERGED**2 * matrix[1, 1] and vector[2] ** 2 < CONVERGED**2 * matrix[2, 2]
        done = done and vector[3] ** 2 < CONVERGED**2 * matrix[3, 3] and vector[0] ** 2 < CONVERGED**2 * matrix[0, 0]
        furthest = 0.7 * width
        x = min(max(x + min(max(vector[1], -furthest), furthest), 0.0), side - 1.0)
        y = min(max(y + min(max(vector[2], -furthest), furthest), 0.0), side - 1.0)
        peak += max(vector[0], -0.7 * peak)
        log_width += min(max(vector[3], -0.4), 0.4)
        if done:
            break
    spot[X], spot[Y], spot[PEAK], spot[WIDTH] = left + x, top + y, peak, math.exp(log_width)
    spot[X_SD], spot[Y_SD] = error(matrix[1, 1], spot[WIDTH]), error(matrix[2, 2], spot[WIDTH])
    draw(x, y, spot[WIDTH], side, across, shape)
    place[0], place[1], place[2] = x, y, 1.0 / spot[WIDTH] ** 2
    judge(value, base, shape, grid[0], grid[1], peak, light_variance, misfit2, place, spot, diagnostic)
    return True


@jit("void(float32[::1], float32[::1], float32[::1], float32[::1], float32[::1], float64[::1])", **SUMS | INNER)
def weigh(value: np.ndarray, base: np.ndarray, shape: np.ndarray, column: np.ndarray, row: np.ndarray, moments: np.ndarray) -> None:
    """Write sums of weights `shape`: bare, with the value, that times x, that times y; of their squares, bare and with the base."""
    total = along = down = norm = spread = flat = np.float32(0.0)
    nothing, unknown = np.float32(0.0), np.float32(UNKNOWN)
    for p in range(len(value)):
        g = shape[p] if base[p] < unknown else nothing
        v = g * value[p]
        norm += g
        total += v
        along += v * column[p]
        down += v * row[p]
        flat += g * g
        spread += g * g * base[p]
    moments[0], moments[1], moments[2], moments[3], moments[4], moments[5] = norm, total, along, down, flat, spread


@jit(
    "void(float32[::1], float32[::1], int64, int64, int64, float64, float64, float64, int64, float64[::1], float32[::1], float64[::1], "
    "float32[::1], float32[::1], float32[:,::1])",
    **JIT,
)
def climb(
    value: np.ndarray,
    base: np.ndarray,
    left: int,
    top: int,
    side: int,
    filter_width: float,
    noise: float,
    variance: float,
    steps: int,
    spot: np.ndarray,
    centred: np.ndarray,
    moments: np.ndarray,
    across: np.ndarray,
    shape: np.ndarray,
    grid: np.ndarray,
) -> None:
    """Climb in some steps to the sub-pixel maximum of the matched filter in a window; write where it is and its signal-to-noise.

    `noise` is that of the filter where a pixel has `variance`; it is larger where `base` is. `centred` is a Gaussian of the filter's
    width in the middle of the window, from which the first step is taken.
    """
    x, y = spot[X] - left, spot[Y] - top
    for step in range(steps + 1):
        if step == 0 and steps > 0:
            x = y = 0.5 * (side - 1)
            weigh(value, base, centred, grid[0], grid[1], moments)
        else:
            draw(x, y, filter_width, side, across, shape)
            weigh(value, base, shape, grid[0], grid[1], moments)
        total = moments[1]
        if step < steps and total > 0.0:
            # a spot as wide as the filter is twice as far off as its weighted mean says
            x = min(max(x + min(max(2.0 * (moments[2] / total - x), -1.0), 1.0), 0.0), side - 1.0)
            y = min(max(y + min(max(2.0 * (moments[3] / total - y), -1.0), 1.0), 0.0), side - 1.0)
    filtered = moments[1] / max(moments[0], 1e-30)
    if steps > 0:
        spot[PEAK] = 2.0 * filtered  # a filter of the spot's own width halves its peak
    spot[SNR] = filtered / (noise * math.sqrt(max(moments[5] / max(moments[4] * variance, 1e-30), 1.0)))
    spot[X], spot[Y] = left + x, top + y
