"""Likelihood matrix -> the smooth number density that made the tracks most likely.

Maximum a posteriori on the logarithm of the density, with a penalty on its third differences: what the data cannot tell is filled in
by a log-normal, the penalty's null space. The strength of the penalty is the one of the largest evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.blocks import add_information, blocks, expect, mix

STRENGTHS = 10.0 ** np.arange(-1.0, 5.01, 0.5)
LONGEST, LONGEST_RISE, SHORT = 3.0, 1.0, 0.05  # steps of a ln number
WEAKEST = 1e-6  # a hold on what neither data nor penalty determine
BOUNDING_STEPS, KNOWN = 270, 2.0  # at a time, until the unpenalised likelihood is known to so much
NOBODY = 1e-3  # tracks, fewer than which a cell tells nothing
SETTLED, LEAST_GAIN = 1e-8, 1e-3  # of the log-likelihood: what the next step promises where it may go on, and where it must not
KEPT = 0.5  # of the gain before; a step that promises more asks for a new curvature
FAINTEST = 1e-18  # likelihood of a track, whose square's inverse single precision can hold
TOGETHER, MOST_STEPS, MOST_CURVATURES = 20, 100, 40  # fits at a time; steps and curvatures of one before it is left to the damped climb


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
    number, other = _unpenalised(matrix, expected, outliers, count)
    theta, flat, reached, most = _log_normal(number), (number, other), -np.inf, np.inf
    best: tuple[float, Density] | None = None
    # from stiff to soft, each from the one before: a stiff density is unimodal and has one maximum
    for strength in STRENGTHS[::-1]:
        theta, other, fit, curvature = _climb(matrix, expected, outliers, count, theta, other, strength)
        penalty = third_differences(len(theta))
        value = fit - 0.5 * strength * theta @ penalty @ theta
        _, log_det = np.linalg.slogdet(curvature + strength * penalty + WEAKEST * np.eye(len(theta)))
        evidence = value + 0.5 * (len(theta) - 3) * np.log(strength) - 0.5 * log_det
        if best is None or evidence > best[0]:
            best = (evidence, Density(theta, other, float(strength)))
            continue
        if most - reached > KNOWN:
            # the further past the best one, the better it is known what is left to win
            flat = expectation_steps(matrix, expected, outliers, count, *flat, BOUNDING_STEPS)
            reached, most = likelihood_bounds(matrix, expected, outliers, count, *flat)
        if evidence + most - value < best[0]:
            break  # a softer one can win no more than that, and its price only rises
    assert best is not None
    return best[1]


def refit(matrix: np.ndarray, expected: np.ndarray, outliers: np.ndarray, counts: np.ndarray, near: Density) -> list[Density]:
    """Fit again with each of some other counts, (b, m), at the same strength, starting from `near`."""
    found = []
    for some in (counts[first : first + TOGETHER] for first in range(0, len(counts), TOGETHER)):
        theta, other, settled = _newton(matrix, expected, outliers, some, near)
        for i in np.flatnonzero(~settled):
            theta[i], other[i], _, _ = _climb(matrix, expected, outliers, some[i], near.log_number, near.outlier, near.strength)
        found += [Density(t, o, near.strength) for t, o in zip(theta, other, strict=True)]
    return found


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
        _, found, joined = expect(matrix, outliers, count, number, other)
        number, other = number * (found / expected), other * joined
    return number, other


def likelihood_bounds(
    matrix: np.ndarray, expected: np.ndarray, outliers: np.ndarray, count: np.ndarray, number: np.ndarray, other: np.ndarray
) -> tuple[float, float]:
    """Return the log-likelihood of numbers (k,) and outliers (j,) after a step of `expectation_steps`, and what none exceeds.

    None with the same zeros, that is. The log-likelihood is concave in the numbers, and those of the best ones expect as many tracks as
    there are: it is higher by no more than that many times the largest growth the next step would bring, less one.
    """
    fit, found, joined = expect(matrix, outliers, count, number, other)
    growth = np.concatenate([(found / expected)[number > 0], joined]).max()
    reached = float(fit - expected @ number - other.sum())
    return reached, reached + float(count.sum() * max(growth - 1, 0.0))


def _unpenalised(matrix: np.ndarray, expected: np.ndarray, outliers: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers (k,) and outliers (j,) after a few unpenalised steps from all sizes alike."""
    k, j = matrix.shape[1], outliers.shape[1]
    number = np.full(k, count.sum() / k) / expected
    return expectation_steps(matrix, expected, outliers, count, number, np.full(j, 0.01 * count.sum()), 30)


def _log_normal(number: np.ndarray) -> np.ndarray:
    """Return ln numbers, (k,), of the log-normal that has the moments of those given."""
    index = np.arange(len(number))
    number = np.maximum(number, 1e-280)  # where nothing diffuses
    weight = number / number.sum()
    mean = weight @ index
    variance = max(weight @ (index - mean) ** 2, 1.0)
    theta = -0.5 * (index - mean) ** 2 / variance
    theta += np.log(number.sum() / np.exp(theta).sum())
    return np.maximum(theta, -300.0)


def _newton(
    matrix: np.ndarray, expected: np.ndarray, outliers: np.ndarray, counts: np.ndarray, near: Density
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maximise the penalised likelihoods of a few counts, (b, m), side by side; the outliers by EM beside them.

    Each fit keeps its curvature for as long as a step promises less than half the gain of the one before. Returns ln numbers, (b, k),
    outliers, (b, j), and which fits settled, (b,).
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    b, k = len(counts), len(expected)
    penalty = near.strength * third_differences(k)
    theta, other = np.tile(near.log_number, (b, 1)), np.tile(near.outlier, (b, 1))
    inverse, curvatures, stale, gain = np.empty((b, k, k)), np.zeros(b, int), np.ones(b, bool), np.full(b, np.inf)
    settled, open_ = np.zeros(b, bool), np.arange(b)
    for _ in range(MOST_STEPS):
        number = np.exp(np.clip(theta[open_], -300, 50))
        found, growth = np.zeros_like(number), np.zeros_like(other[open_])
        inverse[open_[stale[open_]]] = 0.0
        for rows, some in blocks(matrix):
            mixed = np.maximum(number @ some.T + other[open_] @ outliers[rows].T, 1e-300)
            ratio = counts[open_, rows] / mixed
            found += ratio @ some
            growth += ratio @ outliers[rows]
            mixed = np.maximum(mixed, FAINTEST)
            for row, i in enumerate(open_):
                if stale[i]:
                    # a curvature only shows the way: the precision of the matrix does
                    add_information(inverse[i], matrix[rows], number[row], counts[i, rows], mixed[row])
        fit = number * (found - expected)
        for row, i in enumerate(open_):
            if stale[i]:
                curvature = inverse[i] + penalty
                # what is too many already has its whole curvature; what is too few would bend the other way
                curvature[np.diag_indices(k)] += np.maximum(-fit[row], 0.0) + WEAKEST
                lower, failed = dpotrf(curvature, lower=1)
                if failed:
                    curvatures[i], inverse[i] = MOST_CURVATURES, np.nan
                else:
                    lower = np.tril(dpotri(lower, lower=1)[0])
                    inverse[i] = lower + np.tril(lower, -1).T
                curvatures[i] += 1
        gradient = fit - theta[open_] @ penalty
        step = np.array([inverse[i] @ g for i, g in zip(open_, gradient, strict=True)])
        promised = np.abs(np.einsum("ij,ij->i", step, gradient))
        joined = np.einsum("ij,ij->i", other[open_], (growth - 1) ** 2)
        # the curvature grows with what rises; what tells nothing of any track may go where it likes, and rise until it does
        least = np.log(NOBODY / expected)
        room = np.where(step > 0, LONGEST_RISE + np.maximum(least - theta[open_], 0.0), np.where(theta[open_] > least, LONGEST, np.inf))
        told = np.abs(np.where(np.maximum(theta[open_], theta[open_] + step) > least, step, 0.0)).max(axis=1)
        step /= np.maximum(np.abs(step) / room, 1.0).max(axis=1)[:, None]
        # a curvature that no longer serves is made anew before anything moves
        go = stale[open_] | (promised <= np.maximum(KEPT * gain[open_], SETTLED))
        theta[open_[go]] += step[go]
        other[open_[go]] *= growth[go]
        stale[open_], gain[open_[go]] = ~go, promised[go]
        # what still creeps when its curvatures are used up is where the climb would leave it
        settled[open_] = (promised < LEAST_GAIN) & (joined < LEAST_GAIN) & (told < SHORT)
        open_ = open_[~((promised < SETTLED) & (joined < LEAST_GAIN)) & (curvatures[open_] <= MOST_CURVATURES)]
        if not len(open_):
            break
    return theta, other, settled


def _slopes(matrix: np.ndarray, number: np.ndarray, count: np.ndarray, mixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the slope of the log-likelihood over the numbers, (k,), and its curvature over their ln, (k, k), at `mixed`, (m,)."""
    slope, curvature = np.zeros(len(number)), np.zeros((len(number), len(number)))
    for rows, some in blocks(matrix):
        slope += (count[rows] / mixed[rows]) @ some
        add_information(curvature, some, number, count[rows], mixed[rows])
    return slope, curvature


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

    def numbers(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number = np.exp(np.clip(t, -300, 50))
        return number, mix(matrix, number)

    def value(number: np.ndarray, diffusing: np.ndarray, o: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(diffusing + outliers @ o, 1e-300)
        return float(count @ np.log(mixed) - expected @ number - o.sum()), mixed

    number, diffusing = numbers(theta)
    fit, mixed = value(number, diffusing, other)
    for _ in range(iterations):
        growth, curvature = _slopes(matrix, number, count, mixed)
        gradient = number * (growth - expected) - penalty @ theta
        objective = fit - 0.5 * theta @ penalty @ theta
        improved = False
        for _ in range(12):
            # the complete-data curvature bounds the step where little is known
            damp = damping * np.diag(expected * number + 1e-3)
            step = np.linalg.solve(curvature + penalty + hold + damp, gradient)
            step *= LONGEST / max(np.abs(step).max(), LONGEST)
            trial = theta + step
            number_there, diffusing = numbers(trial)
            new_fit, new_mixed = value(number_there, diffusing, other)
            new_objective = new_fit - 0.5 * trial @ penalty @ trial
            if new_objective >= objective - 1e-9:
                improved = True
                break
            damping = max(damping, 1e-6) * 8
        if not improved:
            break
        theta, number, damping = trial, number_there, damping / 5
        other = other * (outliers.T @ (count / new_mixed))
        fit, mixed = value(number, diffusing, other)
        if new_objective - objective < LEAST_GAIN and np.abs(step).max() < SHORT:
            break
    return theta, other, fit, _slopes(matrix, number, count, mixed)[1]
