"""Likelihood over the size grid -> the best diffusion coefficient of each track and its 95 % interval."""

from __future__ import annotations

import numpy as np

DROP_95 = 1.9207  # half the 95 % quantile of chi-square with one degree of freedom
MISSES = 0.05  # of the intervals, whatever the coefficient
STEPS = np.array([1, 2, 3, 4, 5, 7, 10, 14, 20, 32, 64, 128, 256, 1024])  # of the tracks whose drops are computed, and between which read
RATIOS = np.geomspace(1e-2, 1e4, 43)  # localisation variance over D dt, likewise; after them infinity, rest
HALVINGS, NEWTON_STEPS = 16, 5  # of a drop between 0 and 8, to 1e-4; for each


def coefficient_intervals(
    loglik: np.ndarray, immobile: np.ndarray, d: np.ndarray, drop: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's best diffusion coefficient and its 95 % likelihood interval; 0 where no motion is (also) likely enough.

    Parameters
    ----------
    loglik : (m, k), at the coefficients `d` (k,), evenly spaced in ln, fastest first; `immobile` (m,) at none
    drop : (m, k + 1), how far below its best the log-likelihood may be at each coefficient and, last, at none (`allowed_drops`)
    """
    n, k = loglik.shape
    ln_d = np.log(d)
    rows, highest = np.arange(n), loglik.argmax(axis=1)
    peak = np.clip(highest, 1, k - 2)
    before, at, after = (loglik[rows, peak + i] for i in (-1, 0, 1))
    bend = np.minimum(before - 2 * at + after, -1e-12)
    shift = np.clip(0.5 * (before - after) / bend, -1, 1)
    # a row that still rises at the grid's end has its best there
    interior = (at >= before) & (at >= after)
    top = np.where(interior, at - 0.125 * (before - after) ** 2 / bend, loglik[rows, highest])
    value = np.exp(np.where(interior, ln_d[peak] + shift * (ln_d[1] - ln_d[0]), ln_d[highest]))
    still = immobile > top
    best = np.maximum(top, immobile)
    spare = loglik - best[:, None] + drop[:, :k]
    inside = spare >= 0
    first, last = inside.argmax(axis=1), k - 1 - inside[:, ::-1].argmax(axis=1)
    fastest = np.exp(_crossing(spare, rows, first, first - 1, ln_d))
    slowest = np.exp(_crossing(spare, rows, last, last + 1, ln_d))
    some = inside.any(axis=1)
    rest = immobile - best + drop[:, k] >= 0
    high = np.where(some, fastest, 0.0)
    low = np.where(some & ~rest, slowest, 0.0)
    return np.where(still, 0.0, value), low, high


def _crossing(spare: np.ndarray, rows: np.ndarray, inner: np.ndarray, outer: np.ndarray, ln_d: np.ndarray) -> np.ndarray:
    """Return ln D at which each row of `spare` is zero between its grid points `inner`, above it, and `outer`, or the grid's end."""
    beyond = (outer < 0) | (outer >= spare.shape[1])
    safe = np.clip(outer, 0, spare.shape[1] - 1)
    a, b = spare[rows, inner], spare[rows, safe]
    share = np.where(beyond | (a <= b), 0.0, a / np.where(a > b, a - b, 1.0))
    return ln_d[inner] + np.clip(share, 0, 1) * (ln_d[safe] - ln_d[inner])


def allowed_drops(n_steps: np.ndarray, noise_um2_s: np.ndarray, d: np.ndarray, exposed: float) -> np.ndarray:
    """Return how far the log-likelihood of each track may drop, at each coefficient, for 95 % of the intervals to hold the true one.

    An interval is of all coefficients under which a drop as large is no worse than the 95 % quantile of what they give (Feldman & Cousins
    1998): chi-square by half where much is known, less where rest is a bound near by, more where steps are few.

    Parameters
    ----------
    n_steps : (m,), steps of each track
    noise_um2_s : (m,), localisation variance along an axis over the time between spots
    d : (k,), um^2/s
    exposed : share of the time between frames

    Returns
    -------
    (m, k + 1), the last for no motion
    """
    table = _drops(*_shape(exposed))
    row = np.interp(np.log(n_steps), np.log(STEPS), np.arange(len(STEPS)))[:, None]
    ratio = noise_um2_s[:, None] / d
    finite = len(RATIOS)
    column = np.interp(np.log(np.maximum(ratio, RATIOS[0])), np.log(RATIOS), np.arange(finite))
    column = np.append(column, np.full((len(ratio), 1), finite), axis=1)
    i, j = np.minimum(row.astype(int), len(STEPS) - 2), np.minimum(column.astype(int), finite - 1)
    up, right = row - i, column - j
    left_side = table[i, j] * (1 - up) + table[i + 1, j] * up
    right_side = table[i, j + 1] * (1 - up) + table[i + 1, j + 1] * up
    return left_side * (1 - right) + right_side * right


def _shape(exposed: float) -> tuple[np.ndarray, np.ndarray]:
    """Return, of each number of steps and noise, ``nu`` and ``q`` of the simplest likelihood that tells as much of D, as asymmetrically.

    That is ``-nu (ln(D + b) + X / (D + b))`` with X over its mean D + b a Gamma variable of shape nu over nu, and ``q = (D + b) / b``: all
    steps alike and independent. With eigenvalues ``l_k`` of the covariance of the steps and ``r_k = d ln l_k / dD``, both axes together
    have the information ``sum r_k^2`` and the skewness ``sum r_k^3`` of the score's half, hence ``D + b = sum r^2 / sum r^3`` and
    ``nu = (sum r^2)^3 / (sum r^3)^2``.
    """
    nu, q = np.empty((len(STEPS), len(RATIOS) + 1)), np.empty((len(STEPS), len(RATIOS) + 1))
    for i, n in enumerate(STEPS):
        c = 1 - np.cos(np.arange(1, n + 1) * np.pi / (n + 1))
        signal, noise = 1 - exposed / 3 * c, c  # Berglund 2010; a third of the exposed share is twice his R
        # slopes over ln D; where noise is all, in its units
        r = signal / (signal + RATIOS[:, None] * noise)
        r = np.vstack([r, signal / noise])
        square, cube = np.sum(r**2, axis=1), np.sum(r**3, axis=1)
        nu[i] = square**3 / cube**2
        q[i, :-1] = 1 / np.maximum(1 - cube[:-1] / square[:-1], 1e-9)
        q[i, -1] = 1.0
    return nu, q


def _drops(nu: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return what the drop of `_shape`'s likelihood exceeds in 5 % of all cases, D not being negative.

    With ``g = X / (D + b)`` it is ``nu (g - 1 - ln g)``, and ``nu (ln q - g (q - 1))`` from rest where ``g < 1 / q``.
    """
    from scipy.special import gammainc, gammaincc

    low, high = np.zeros_like(nu), np.full_like(nu, 8.0)
    at_rest = np.log(q) - 1 + 1 / q
    for _ in range(HALVINGS):
        drop = (low + high) / 2
        h = drop / nu
        # both roots of g - 1 - ln g = h, over ln g
        slow, fast = -np.sqrt(2 * h) - h, np.sqrt(2 * h)
        for _ in range(NEWTON_STEPS):
            slow, fast = (x - (np.exp(x) - 1 - x - h) / (np.exp(x) - 1) for x in (slow, fast))
        with np.errstate(divide="ignore", invalid="ignore"):
            least = np.where(h <= at_rest, np.exp(slow), np.where(q > 1, (np.log(q) - h) / (q - 1), 0.0))
        beyond = gammaincc(nu, nu * np.exp(fast)) + gammainc(nu, nu * np.maximum(least, 0.0))
        low, high = np.where(beyond > MISSES, drop, low), np.where(beyond > MISSES, high, drop)
    return (low + high) / 2
