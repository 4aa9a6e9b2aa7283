"""Exact likelihood of tracks: an LDL^T recursion over displacements, O(n) for each track, many diffusion coefficients at a time."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import INNER, JIT

LOG_2PI = math.log(2.0 * math.pi)
LANES = 41
"""Diffusion coefficients at a time, so that the processor takes several in one instruction; the grid of sizes is four times so many."""
STEPS_A_LOG = 16  # variances of so many steps are multiplied before the logarithm is taken
PIVOT, X, Y, PRODUCT, SQUARES, LOGS, TOP, SUM = (LANES * i for i in range(8))
"""Where in a row of numbers those of each coefficient begin: variance and both axes of what is left of a step; running sums."""
NOTHING = 64.0  # e^-64 of the largest term
INSIDE = 30.0  # a gate outside which a share e^-30 lies cuts nothing


@jit("float64(float64)", **INNER)
def decay(t: float) -> float:
    """Return ``exp(-t)``, t >= 0, to 1e-13, or what is nothing beside 1: the 256th power of a series, without a branch."""
    x = 0.125 - min(t, NOTHING) / 256.0
    high = 1.0 / 720.0 + x * (1.0 / 5040.0 + x * (1.0 / 40320.0 + x / 362880.0))
    v = 1.0 + x * (1.0 + x * (1.0 / 2.0 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0 + x * high)))))
    v *= 0.8824969025845955  # exp(-1/8)
    for _ in range(8):
        v *= v
    return v


@jit(
    "void(float64[::1], float64[::1], int64[::1], float64[::1], int64[::1], float64[::1], "
    "float64, float64, float64[::1], float64, float64[:,::1])",
    **JIT,
)
def track_loglik(
    x_um: np.ndarray,
    y_um: np.ndarray,
    frame: np.ndarray,
    variance_um2: np.ndarray,
    start: np.ndarray,
    diffusion_um2_s: np.ndarray,
    dt_s: float,
    exposure_s: float,
    gate_um: np.ndarray,
    wrong_share: float,
    out: np.ndarray,
) -> None:
    """Write the log-likelihood of each track at each diffusion coefficient into `out`, (tracks, coefficients).

    Covariances of displacements: Berglund 2010, eqs. 5-6, extended to gaps of g frames and to a localisation variance per spot::

        Var(dx_i)          = 2 D g dt - 2 D te / 3 + s_i + s_(i+1)
        Cov(dx_i, dx_(i+1)) = D te / 3 - s_(i+1)

    with ``s_i = variance_um2[i]``, the localisation variance of spot i. ``gate_um[g - 1]`` truncates a step over g frames, the last one
    those over more: a longer link was never made, so each step is divided by its chance to lie within. A share `wrong_share` of the
    links leads to a stranger, anywhere in the gate: the likelihood is the sum over no wrong link and one at each step, which cuts the
    track in two independent pieces. Two axes, positions in um, variances per axis; ``start`` holds the first row of each track and the
    end of the last.

    A cut at a step leaves its density given all others out. Since only neighbours are correlated, what the steps before and those after
    tell of it add up: of pivots p and residuals z of the recursions from either end, its variance given the others is ``p + p' - Var``
    and its residual ``z + z' - dx``.
    """
    n_tracks, n_coefficients = len(start) - 1, len(diffusion_um2_s)
    longest = 0
    for i in range(n_tracks):
        longest = max(longest, start[i + 1] - start[i])
    past = np.empty((longest, 3 * LANES))  # pivot and residuals of each step given those before
    now = np.empty(8 * LANES)
    d = np.empty(LANES)
    third = exposure_s / 3.0
    for begin in range(0, n_coefficients, LANES):
        fastest = 0.0
        for k in range(LANES):
            d[k] = diffusion_um2_s[min(begin + k, n_coefficients - 1)]
            fastest = max(fastest, d[k])
        for i in range(n_tracks):
            first, n = start[i], start[i + 1] - start[i]
            for k in range(LANES):
                now[PRODUCT + k], now[SQUARES + k], now[LOGS + k] = 1.0, 0.0, 0.0
            for j in range(n - 1):
                a, b = first + j, first + j + 1
                lapse = frame[b] - frame[a]
                per_d, noise = 2.0 * (dt_s * lapse - third), variance_um2[a] + variance_um2[b]
                dx, dy = x_um[b] - x_um[a], y_um[b] - y_um[a]
                row, own = past[j], variance_um2[a]
                if j == 0:
                    for k in range(LANES):
                        row[PIVOT + k], row[X + k], row[Y + k] = per_d * d[k] + noise, dx, dy
                        now[PRODUCT + k], now[SQUARES + k] = row[PIVOT + k], (dx * dx + dy * dy) / row[PIVOT + k]
                else:
                    last = past[j - 1]
                    for k in range(LANES):
                        shared = third * d[k] - own
                        ratio = shared / last[PIVOT + k]
                        pivot = per_d * d[k] + noise - ratio * shared
                        zx, zy = dx - ratio * last[X + k], dy - ratio * last[Y + k]
                        row[PIVOT + k], row[X + k], row[Y + k] = pivot, zx, zy
                        now[PRODUCT + k] *= pivot
                        now[SQUARES + k] += (zx * zx + zy * zy) / pivot
                half_gate2 = 0.5 * gate_um[min(lapse, len(gate_um)) - 1] ** 2
                if half_gate2 < INSIDE * (per_d * fastest + noise):
                    for k in range(LANES):
                        now[PRODUCT + k] *= 1.0 - decay(half_gate2 / (per_d * d[k] + noise))
                if (j + 1) % STEPS_A_LOG == 0:
                    for k in range(LANES):
                        now[LOGS + k] += math.log(now[PRODUCT + k])
                        now[PRODUCT + k] = 1.0
            # the sum over cuts, relative to no cut, is SUM e^TOP
            for k in range(LANES):
                now[TOP + k], now[SUM + k] = 0.0, 1.0
            for j in range(n - 2 if wrong_share > 0.0 else -1, -1, -1):
                a, b = first + j, first + j + 1
                lapse = frame[b] - frame[a]
                per_d, noise = 2.0 * (dt_s * lapse - third), variance_um2[a] + variance_um2[b]
                dx, dy = x_um[b] - x_um[a], y_um[b] - y_um[a]
                row, own = past[j], variance_um2[b]
                if j == n - 2:
                    for k in range(LANES):
                        now[PIVOT + k], now[X + k], now[Y + k] = per_d * d[k] + noise, dx, dy
                else:
                    for k in range(LANES):
                        shared = third * d[k] - own
                        ratio = shared / now[PIVOT + k]
                        now[PIVOT + k] = per_d * d[k] + noise - ratio * shared
                        now[X + k], now[Y + k] = dx - ratio * now[X + k], dy - ratio * now[Y + k]
                half_gate2 = 0.5 * gate_um[min(lapse, len(gate_um)) - 1] ** 2
                odds = wrong_share / (1.0 - wrong_share) / half_gate2
                gated = half_gate2 < INSIDE * (per_d * fastest + noise)
                for k in range(LANES):
                    variance = per_d * d[k] + noise
                    given = row[PIVOT + k] + now[PIVOT + k] - variance
                    zx, zy = row[X + k] + now[X + k] - dx, row[Y + k] + now[Y + k] - dy
                    power, weight, top = 0.5 * (zx * zx + zy * zy) / given, odds * given, now[TOP + k]
                    if gated:
                        weight *= 1.0 - decay(half_gate2 / variance)
                    fewer = decay(abs(power - top))
                    now[SUM + k] = now[SUM + k] * fewer + weight if power > top else now[SUM + k] + weight * fewer
                    now[TOP + k] = max(power, top)
            always = (n - 1) * (math.log(1.0 - wrong_share) - LOG_2PI)
            for k in range(min(LANES, n_coefficients - begin)):
                whole = always - now[LOGS + k] - math.log(now[PRODUCT + k]) - 0.5 * now[SQUARES + k]
                out[i, begin + k] = whole + now[TOP + k] + math.log(now[SUM + k])
