"""Evidence, Mixture -> whether the tracks are explained as well without any particle of some sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from nta.intervals import DROP_95
from nta.mixture import Evidence, Mixture, expectation_steps

MOST_STEPS, LOOK_STEPS = 300, 10
SMALLEST = np.exp(-12.0)  # of the fullest cell: what an empty one begins with


def find_emptiable(evidence: Evidence, mixture: Mixture, slack: float) -> Callable[[float, float], bool]:
    """Return a test of whether a range of sizes, from the first to the second in nm, can be empty.

    A likelihood ratio of densities of any shape, tracks counted as particles. The edges give way by a factor `slack`.
    """
    cells, grid_nm = mixture.cells(evidence.ln_d), np.exp(evidence.ln_d)
    expected_tracks = cells @ evidence.expected
    tracks_per_particle = float(expected_tracks / (cells @ (evidence.expected / evidence.tracks_per_particle)))

    def climb(allowed: np.ndarray) -> Iterator[tuple[float, float]]:
        """Yield from time to time what the likelihood has come to, and what it will never exceed."""
        at = np.where(allowed, np.maximum(cells, SMALLEST * cells.max()), 0.0), mixture.outlier
        for _ in range(MOST_STEPS // LOOK_STEPS):
            at = expectation_steps(evidence, *at, LOOK_STEPS)
            yield likelihood_bounds(evidence, *at)

    *_, (full, _) = climb(np.ones(len(cells), bool))
    least = full - DROP_95 * tracks_per_particle

    def test(inside: np.ndarray) -> bool:
        reached = -np.inf
        for reached, most in climb(~inside):
            if reached > least or most <= least:
                break  # no step loses what the ones before have gained
        return reached > least

    return lambda low_nm, high_nm: test((grid_nm >= low_nm * slack) & (grid_nm * slack < high_nm))


def likelihood_bounds(evidence: Evidence, number: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the log-likelihood of numbers (k,) and outliers (o,) after a step of `expectation_steps`, and what none exceeds.

    None with the same zeros, that is. The log-likelihood is concave in the numbers, and those of the best ones expect as many tracks as
    there are: it is higher by no more than that many times the largest growth the next step would bring, less one.
    """
    fit, found, joined = evidence.expect(number, other)
    growth = np.concatenate([(found / evidence.expected)[number > 0], joined]).max()
    reached = float(fit - evidence.expected @ number - other.sum())
    return reached, reached + float(len(evidence.matrix) * max(growth - 1, 0.0))
