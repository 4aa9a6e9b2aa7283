"""Likelihood matrix -> the smooth number density that made the tracks most likely.

Maximum a posteriori on the logarithm of the density, with a penalty on its third differences: what the data cannot tell is filled in
by a log-normal, the penalty's null space. The strength of the penalty is the one of the largest evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STRENGTHS = 10.0 ** np.arange(-1.0, 5.01, 0.5)
WEAKEST = 1e-6  # a hold on what neither data nor penalty determine


@dataclass(frozen=True)
class Density:
    """A fitted density: `log_number` (k,) ln of the number in each cell, `outlier` numbers of tracks in the columns after it."""

    log_number: np.ndarray
    outlier: np.ndarray
    strength: float

    @property
    def weight(self) -> np.ndarray:
        """(k,) number fractions, sum 1."""
        w = np.exp(self.log_number - self.log_number.max())
        return w / w.sum()


def third_differences(k: int) -> np.ndarray:
    """Return the penalty matrix ``D3^T D3``, (k, k)."""
    d3 = np.diff(np.eye(k), n=3, axis=0)
    return d3.T @ d3


def fit_density(matrix: np.ndarray, expected: np.ndarray, outliers: np.ndarray, count: np.ndarray | None = None) -> Density:
    """Fit the density, with the strength of smoothing by evidence (Laplace approximation).

    Parameters
    ----------
    matrix : (m, k), likelihood of each track (rows scaled at will) times the expected tracks of its length, per particle of each size
    expected : (k,), expected tracks per particle of each size
    outliers : (m, j), likelihood of each track under what is no diffusing particle
    count : (m,) times each track counts; 1 unless given
    """
    count = np.ones(len(matrix)) if count is None else count
    start = _em(matrix, expected, outliers, count)
    best: tuple[float, Density] | None = None
    theta, other = start
    # from stiff to soft, each from the one before: a stiff density is unimodal and has one maximum
    for strength in STRENGTHS[::-1]:
        theta, other, fit, curvature = _climb(matrix, expected, outliers, count, theta, other, strength)
        penalty = third_differences(len(theta))
        value = fit - 0.5 * strength * theta @ penalty @ theta
        _, log_det = np.linalg.slogdet(curvature + strength * penalty + WEAKEST * np.eye(len(theta)))
        evidence = value + 0.5 * (len(theta) - 3) * np.log(strength) - 0.5 * log_det
        if best is None or evidence > best[0]:
            best = (evidence, Density(theta, other, float(strength)))
    assert best is not None
    return best[1]


def refit(matrix: np.ndarray, expected: np.ndarray, outliers: np.ndarray, count: np.ndarray, near: Density) -> Density:
    """Fit again with other counts at the same strength, starting from `near`."""
    theta, other, _, _ = _climb(matrix, expected, outliers, count, near.log_number, near.outlier, near.strength)
    return Density(theta, other, near.strength)


def expectation_steps(
    matrix: np.ndarray,
    expected: np.ndarray,
    outliers: np.ndarray,
    count: np.ndarray,
    number: np.ndarray,
    other: np.ndarray,
    iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers (k,) and outliers (j,) after steps of the unpenalised EM from those given; what is zero stays zero."""
    for _ in range(iterations):
        ratio = count / np.maximum(matrix @ number + outliers @ other, 1e-300)
        number, other = number * ((matrix.T @ ratio) / expected), other * (outliers.T @ ratio)
    return number, other


def _em(matrix: np.ndarray, expected: np.ndarray, outliers: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a start: a log-normal by moments of a few unpenalised steps."""
    k, j = matrix.shape[1], outliers.shape[1]
    number = np.full(k, count.sum() / k) / expected
    other = np.full(j, 0.01 * count.sum())
    number, other = expectation_steps(matrix, expected, outliers, count, number, other, 30)
    index = np.arange(k)
    number = np.maximum(number, 1e-280)  # where nothing diffuses
    weight = number / number.sum()
    mean = weight @ index
    variance = max(weight @ (index - mean) ** 2, 1.0)
    theta = -0.5 * (index - mean) ** 2 / variance
    theta += np.log(number.sum() / np.exp(theta).sum())
    return np.maximum(theta, -300.0), other


def _climb(
    matrix: np.ndarray,
    expected: np.ndarray,
    outliers: np.ndarray,
    count: np.ndarray,
    theta: np.ndarray,
    other: np.ndarray,
    strength: float,
    iterations: int = 60,
) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Maximise the penalised likelihood by damped Gauss-Newton on ln of the numbers; the outliers by EM beside it.

    Returns ln numbers, outliers, log-likelihood and its curvature, (k, k).
    """
    k = len(theta)
    penalty = strength * third_differences(k)
    hold = WEAKEST * np.eye(k)
    damping = 1e-3

    def value_at(t: np.ndarray, o: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        number = np.exp(np.clip(t, -300, 50))
        mixed = np.maximum(matrix @ number + outliers @ o, 1e-300)
        fit = float(count @ np.log(mixed) - expected @ number - o.sum())
        return fit, number, mixed

    fit, number, mixed = value_at(theta, other)
    for _ in range(iterations):
        shares = matrix * (number / mixed[:, None])
        gradient = count @ shares - expected * number - penalty @ theta
        weighted = shares * np.sqrt(count)[:, None]
        curvature = weighted.T @ weighted
        objective = fit - 0.5 * theta @ penalty @ theta
        improved = False
        for _ in range(12):
            # the complete-data curvature bounds the step where little is known
            damp = damping * np.diag(expected * number + 1e-3)
            step = np.linalg.solve(curvature + penalty + hold + damp, gradient)
            step *= min(1.0, 3.0 / max(np.abs(step).max(), 1e-12)) if np.abs(step).max() > 3.0 else 1.0
            trial = theta + step
            new_fit, _, new_mixed = value_at(trial, other)
            new_objective = new_fit - 0.5 * trial @ penalty @ trial
            if new_objective >= objective - 1e-9:
                improved = True
                break
            damping = max(damping, 1e-6) * 8
        if not improved:
            break
        theta, damping = trial, damping / 5
        other = other * (outliers.T @ (count / new_mixed))
        fit, number, mixed = value_at(theta, other)
        if new_objective - objective < 1e-3 and np.abs(step).max() < 0.05:
            break
    shares = matrix * (number / mixed[:, None])
    weighted = shares * np.sqrt(count)[:, None]
    return theta, other, fit, weighted.T @ weighted
