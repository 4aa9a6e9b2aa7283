"""Likelihood of tracks that do not diffuse freely, but in a trap or with a velocity of their own: a Kalman filter, O(n) for each track."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import JIT
from nta.kernels.likelihood import LANES, LOG_2PI, STEPS_A_LOG

X, Y, TREND, VARIANCE, KEPT, PRODUCT, SQUARES, LOGS, TREND2, ALONG_X, ALONG_Y = (LANES * i for i in range(11))
"""Where in a row of numbers those of each model begin: what is expected of position and trend, its variance; running sums."""
BEFORE, KEEP, SPREAD, WALK, BLUR, LEVEL, SLOPE, PRECISION = (LANES * i for i in range(8))
"""Where in a row of `models` those of each begin: see `regime_loglik`."""


@jit("void(float64[::1], float64[::1], int64[::1], float64[::1], int64[::1], float64[:,::1], float64[:,::1])", **JIT)
def regime_loglik(
    x_um: np.ndarray,
    y_um: np.ndarray,
    frame: np.ndarray,
    variance_um2: np.ndarray,
    start: np.ndarray,
    models: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the log-likelihood of the positions of each track under each model into `out`, (tracks, models).

    `models`, (batches, 8 `LANES`), holds eight numbers of `LANES` models in each row. A position is seen with the variance
    ``variance_um2 - BLUR``. Along each axis it is that in the frame before times KEEP plus an innovation of variance
    ``SPREAD (1 - KEEP^2) + WALK``, from the first on, which is about 0 with the variance BEFORE; and it has besides a trend,
    ``LEVEL + SLOPE t`` times a normal number about 0 of precision PRECISION, t in frames from the first. The number is integrated out:
    of the innovations e of the filter, of variances S, and those h of the same filter fed with the trend, ``A = sum e h / S`` and
    ``B = PRECISION + sum h^2 / S`` add ``A^2 / 2 B - ln(B) / 2``. Constants of the densities before the first position and of the trend
    are left out.
    """
    n_models = LANES * len(models)
    now = np.empty(11 * LANES)
    for begin in range(0, n_models, LANES):
        row = models[begin // LANES]
        for i in range(len(start) - 1):
            first, end = start[i], start[i + 1]
            for k in range(11 * LANES):
                now[k] = 0.0
            for k in range(LANES):
                now[VARIANCE + k], now[PRODUCT + k] = row[BEFORE + k], 1.0
            for j in range(first, end):
                lapse = frame[j] - frame[max(j - 1, first)]
                time, x, y, noise = float(frame[j] - frame[first]), x_um[j] - x_um[first], y_um[j] - y_um[first], variance_um2[j]
                for k in range(LANES):
                    now[KEPT + k] = 1.0
                for _ in range(lapse):
                    for k in range(LANES):
                        now[KEPT + k] *= row[KEEP + k]
                for k in range(LANES):
                    kept, own, trend = now[KEPT + k], noise - row[BLUR + k], row[LEVEL + k] + row[SLOPE + k] * time
                    variance = kept * kept * now[VARIANCE + k] + row[SPREAD + k] * (1.0 - kept * kept) + row[WALK + k] * lapse
                    total = variance + own
                    gain = variance / total
                    ex, ey, h = x - kept * now[X + k], y - kept * now[Y + k], trend - kept * now[TREND + k]
                    now[PRODUCT + k] *= total
                    now[SQUARES + k] += (ex * ex + ey * ey) / total
                    now[TREND2 + k] += h * h / total
                    now[ALONG_X + k] += ex * h / total
                    now[ALONG_Y + k] += ey * h / total
                    now[X + k], now[Y + k], now[TREND + k] = x + (gain - 1.0) * ex, y + (gain - 1.0) * ey, trend + (gain - 1.0) * h
                    now[VARIANCE + k] = gain * own
                if (j - first) % STEPS_A_LOG == 0:
                    for k in range(LANES):
                        now[LOGS + k] += math.log(now[PRODUCT + k])
                        now[PRODUCT + k] = 1.0
            for k in range(LANES):
                b = now[TREND2 + k] + row[PRECISION + k]
                along = 0.5 * (now[ALONG_X + k] ** 2 + now[ALONG_Y + k] ** 2) / b
                whole = -(end - first - 1) * LOG_2PI - now[LOGS + k] - math.log(now[PRODUCT + k]) - 0.5 * now[SQUARES + k]
                out[i, begin + k] = whole + along - math.log(b)
