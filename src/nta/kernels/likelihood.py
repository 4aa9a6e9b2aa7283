"""Exact likelihood of tracks: an LDL^T recursion over displacements, O(n) for each track and diffusion coefficient."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import JIT

LOG_2PI = math.log(2.0 * math.pi)


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
    """
    n_tracks = len(start) - 1
    longest = 0
    for i in range(n_tracks):
        longest = max(longest, start[i + 1] - start[i])
    before = np.empty(longest)
    after = np.empty(longest)
    log_right = math.log(1.0 - wrong_share)
    half_gate2, log_wrong = np.empty(longest), np.full(longest, -math.inf)
    for i in range(n_tracks):
        first, n = start[i], start[i + 1] - start[i]
        for j in range(n - 1):
            gate = gate_um[min(frame[first + j + 1] - frame[first + j], len(gate_um)) - 1]
            half_gate2[j] = 0.5 * gate * gate
            if wrong_share > 0.0:
                log_wrong[j] = math.log(wrong_share / (math.pi * gate * gate))
        for k in range(len(diffusion_um2_s)):
            d = diffusion_um2_s[k]
            blur = d * exposure_s / 3.0
            # before[j]: likelihood of the steps between spots 0 to j; after[j]: of those between spots j to the last
            for way in range(2):
                total, pivot, zx, zy = 0.0, 1.0, 0.0, 0.0
                if way == 0:
                    before[0] = 0.0
                elif wrong_share > 0.0:
                    after[n - 1] = 0.0
                else:
                    break
                for step in range(n - 1):
                    a = first + step if way == 0 else first + n - 1 - step
                    b = a + 1 if way == 0 else a - 1
                    variance = 2.0 * d * dt_s * abs(frame[b] - frame[a]) - 2.0 * blur + variance_um2[a] + variance_um2[b]
                    dx, dy = x_um[b] - x_um[a], y_um[b] - y_um[a]
                    if step == 0:
                        pivot, zx, zy = variance, dx, dy
                    else:
                        shared = blur - variance_um2[a]
                        ratio = shared / pivot
                        pivot = variance - ratio * shared
                        zx, zy = dx - ratio * zx, dy - ratio * zy
                    total -= LOG_2PI + math.log(pivot) + (zx * zx + zy * zy) / (2.0 * pivot)
                    tail = half_gate2[min(a, b) - first] / variance
                    if tail < 30.0:
                        total -= math.log(-math.expm1(-tail))
                    if way == 0:
                        before[step + 1] = total
                    else:
                        after[n - 2 - step] = total
            whole = before[n - 1] + (n - 1) * log_right
            if wrong_share > 0.0:
                best = whole
                for j in range(n - 1):
                    best = max(best, log_wrong[j] + before[j] + after[j + 1] + (n - 2) * log_right)
                summed = math.exp(whole - best)
                for j in range(n - 1):
                    summed += math.exp(log_wrong[j] + before[j] + after[j + 1] + (n - 2) * log_right - best)
                whole = best + math.log(summed)
            out[i, k] = whole
