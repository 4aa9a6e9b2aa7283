"""Likelihood matrix -> log-normal mixture: how many populations there are, and where. It names the peaks; the density is not its."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.blocks import expect

MOST_COMPONENTS = 4
NARROWEST = 0.02  # of a component, in ln d
ITERATIONS = 500


@dataclass(frozen=True)
class Mixture:
    """Log-normal components: `centre` (j,) ln of the median in nm, `width` (j,) SD of ln d, `share` (j,) number fractions."""

    centre: np.ndarray
    width: np.ndarray
    share: np.ndarray


def fit_mixture(
    matrix: np.ndarray,
    expected: np.ndarray,
    ln_d: np.ndarray,
    start: np.ndarray,
    tracks_per_particle: float,
    count: np.ndarray | None = None,
) -> Mixture:
    """Fit mixtures of 1 to 4 components by EM and return the one of the lowest BIC.

    Parameters
    ----------
    matrix : (m, k), likelihood of each track times the expected tracks of its length, per particle of each size
    expected : (k,), expected tracks per particle of each size
    ln_d : (k,)
    start : (k,), number weights near which to begin
    tracks_per_particle : the log-likelihood is divided by it, since tracks of one particle are not new evidence
    count : (m,) times each track counts; 1 unless given
    """
    count = np.ones(len(matrix)) if count is None else count
    best: tuple[float, Mixture] | None = None
    independent = max(count.sum() / tracks_per_particle, 2.0)
    for n in range(1, MOST_COMPONENTS + 1):
        fit, mixture = _em(matrix, count, expected, ln_d, start, n)
        bic = -2 * fit / tracks_per_particle + (3 * n - 1) * np.log(independent)
        if best is None or bic < best[0]:
            best = (bic, mixture)
    assert best is not None
    order = np.argsort(best[1].centre)
    return Mixture(best[1].centre[order], best[1].width[order], best[1].share[order])


def _em(matrix: np.ndarray, count: np.ndarray, expected: np.ndarray, ln_d: np.ndarray, start: np.ndarray, n: int) -> tuple[float, Mixture]:
    """Return the log-likelihood and the mixture of `n` components."""
    cumulative = np.cumsum(start) / start.sum()
    # the ends of the grid are no ends of a population
    edges = np.interp(np.clip(np.arange(n + 1) / n, 0.02, 0.98), cumulative, ln_d)
    centre = np.interp((np.arange(n) + 0.5) / n, cumulative, ln_d)
    width = np.maximum(np.diff(edges) / 3, 0.05)
    number = np.full(n, count.sum() / n / float(start @ expected / start.sum()))
    none, fit = np.empty((len(matrix), 0)), -np.inf
    for iteration in range(ITERATIONS):
        shape = np.exp(-0.5 * ((ln_d - centre[:, None]) / width[:, None]) ** 2)
        shape /= np.maximum(shape.sum(axis=1, keepdims=True), 1e-300)
        cells = number[:, None] * shape
        total = cells.sum(axis=0)
        reached, growth, _ = expect(matrix, none, count, total, none[0])
        before, fit = fit, float(reached - total @ expected)
        # particles of each component in each cell, given the tracks
        found = cells * (growth / expected)
        number = np.maximum(found.sum(axis=1), 1e-9)
        centre = found @ ln_d / number
        spread = np.sum(found * (ln_d - centre[:, None]) ** 2, axis=1) / number
        width = np.sqrt(np.maximum(spread, NARROWEST**2))
        if iteration > 20 and fit - before < 1e-5:
            break
    return fit, Mixture(centre, width, number / number.sum())
