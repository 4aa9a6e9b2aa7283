"""Likelihood matrix -> sums over all tracks: one in single precision, as many tracks have it, is summed in double by blocks of tracks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROWS = 1024  # tracks at a time, which stay in the processor's cache
NOBODY = 1e-12  # share of the tracks
LEAST = 1e-60  # likelihood of a track, of rows scaled to 1; its square and that of its inverse exist


def blocks(matrix: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of an (m, k) matrix in double precision: some at a time, or all at once where they are in it already."""
    step = ROWS if matrix.dtype != float else max(len(matrix), 1)
    for first in range(0, len(matrix), step):
        rows = slice(first, min(first + step, len(matrix)))
        yield rows, matrix[rows].astype(float, copy=False)


def expect(
    matrix: np.ndarray, outliers: np.ndarray, count: np.ndarray, number: np.ndarray, other: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the log-likelihood of the tracks, and what each column of the matrix and the outliers grows by in a step of EM, (k,) and (j,).

    The log-likelihood lacks the tracks that the numbers make expect, and the growth of the matrix is still to be divided by them.
    """
    fit, found, joined = 0.0, np.zeros(matrix.shape[1]), np.zeros(outliers.shape[1])
    for rows, some in blocks(matrix):
        mixed = some @ number + outliers[rows] @ other + LEAST
        ratio = count[rows] / mixed
        fit += float(count[rows] @ np.log(mixed))
        found += ratio @ some
        joined += ratio @ outliers[rows]
    return fit, found, joined


def by_motion(likelihood: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return shares of sizes (k,) and of what does not diffuse (j,) among tracks, by motion alone, and the log-likelihood (EM)."""
    once, k = np.ones(len(likelihood)), likelihood.shape[1]
    weight, rest, fit = np.full(k, 1 / k), np.full(others.shape[1], 0.01), 0.0
    for _ in range(60):
        fit, found, joined = expect(likelihood, others, once, weight, rest)
        weight, rest = weight * found / len(likelihood), rest * joined / len(likelihood)
    return np.maximum(weight, NOBODY), rest, fit
