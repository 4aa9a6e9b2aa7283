"""Exact likelihood of tracks: an LDL^T recursion over displacements, O(n) for each track and diffusion coefficient."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import JIT

LOG_2PI = math.log(2.0 * math.pi)


@jit(
    "void(float64[::1], float64[::1], int64[::1], float64[::1], int64[::1], float64[::1], float64, float64, float64, float64[:,::1])",
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
    gate_um: float,
    out: np.ndarray,
) -> None:
    """Write the log-likelihood of each track at each diffusion coefficient into `out`, (tracks, coefficients).

    Covariances of displacements: Berglund 2010, eqs. 5-6, extended to gaps of g frames and to a localisation variance per spot::

        Var(dx_i)          = 2 D g dt - 2 D te / 3 + s_i + s_(i+1)
        Cov(dx_i, dx_(i+1)) = D te / 3 - s_(i+1)

    with ``s_i = variance_um2[i]``, the localisation variance of spot i.
    `gate_um` truncates: a link longer than it was never made, so each step is divided by its chance to lie within.
    Two axes, positions in um, variances per axis; ``start`` holds the first row of each track and the end of the last.
    """
    n_tracks = len(start) - 1
    half_gate2 = 0.5 * gate_um * gate_um
    for i in range(n_tracks):
        first, last = start[i], start[i + 1]
        for k in range(len(diffusion_um2_s)):
            d = diffusion_um2_s[k]
            blur = d * exposure_s / 3.0
            total = 0.0
            pivot, zx, zy = 1.0, 0.0, 0.0
            for j in range(first, last - 1):
                s0, s1 = variance_um2[j], variance_um2[j + 1]
                variance = 2.0 * d * dt_s * (frame[j + 1] - frame[j]) - 2.0 * blur + s0 + s1
                dx, dy = x_um[j + 1] - x_um[j], y_um[j + 1] - y_um[j]
                if j == first:
                    pivot, zx, zy = variance, dx, dy
                else:
                    ratio = (blur - s0) / pivot
                    pivot = variance - ratio * (blur - s0)
                    zx, zy = dx - ratio * zx, dy - ratio * zy
                total -= LOG_2PI + math.log(pivot) + (zx * zx + zy * zy) / (2.0 * pivot)
                tail = half_gate2 / variance
                if tail < 30.0:
                    total -= math.log(-math.expm1(-tail))
            out[i, k] = total
