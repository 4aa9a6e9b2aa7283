"""Fits of mixtures -> Replicates: what else the mixture could have been, had other particles come by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nta.blocks import LEAST, ROWS, blocks
from nta.mixture import FEWEST_TRACKS, NARROWEST, WIDEST, Evidence, Fit, Mixture, inverted, scores

STEPS = 12  # of each refit; their curvature is that of all tracks, each counted once
LONGEST = 0.7  # step in ln of a number
HALF_A_PARTICLE = 0.5  # Jeffreys' prior of a count
UNLIKELY = 0.01  # share below which a mixture of fewer or more components is not considered


def draw_replicates(evidence: Evidence, fits: Sequence[Fit], n: int, rng: np.random.Generator) -> list[Mixture]:
    """Draw `n` mixtures that the tracks would be explained by, had other particles come by.

    Particles are resampled, not tracks, and the mixture is fitted again. How many components there are, and whether they have a width,
    is uncertain too: each of `fits` gets as many replicates as its score makes it probable. Of the smallest and of the largest size that
    was met half a particle more is expected, as a count of few has it.
    """
    best = max(f.score for f in fits)
    chance = np.array([np.exp(f.score - best) for f in fits])
    chance /= chance.sum()
    chance[chance < UNLIKELY] = 0.0
    ends = np.rint(n * np.cumsum(chance) / chance.sum()).astype(int)
    counts = _resampled_counts(evidence, fits[0].mixture, n, rng)
    found: list[Mixture] = []
    for fit, first, last in zip(fits, [0, *ends[:-1]], ends, strict=True):
        if last > first:
            found += _refit(evidence, fit.mixture, counts[first:last])
    met = _smallest_and_largest(evidence, fits[0].mixture)
    more = rng.gamma(HALF_A_PARTICLE, size=(n, 2)) / np.interp(met, evidence.ln_d, evidence.visitors)
    return [_with_ends(m, met, number) for m, number in zip(found, more, strict=True)]


def _smallest_and_largest(evidence: Evidence, mixture: Mixture) -> np.ndarray:
    """Return ln d of the smallest and the largest particle that a track is of, by the means of their posteriors, (2,)."""
    cells, least, most = mixture.cells(evidence.ln_d), np.inf, -np.inf
    for rows, some in blocks(evidence.matrix):
        found = some * cells
        whole = found.sum(axis=1)
        diffusing = whole > evidence.outliers[rows] @ mixture.outlier
        mean = (found[diffusing] @ evidence.ln_d) / whole[diffusing]
        least, most = min(least, mean.min(initial=np.inf)), max(most, mean.max(initial=-np.inf))
    return np.array([least, most])


def _with_ends(mixture: Mixture, ln_d: np.ndarray, number: np.ndarray) -> Mixture:
    """Return the mixture with `number` more at either of two sizes, each as wide as the component that is nearest to it."""
    nearest = np.abs(mixture.centre - ln_d[:, None]).argmin(axis=1)
    return replace(
        mixture,
        number=np.append(mixture.number, number),
        centre=np.append(mixture.centre, ln_d),
        width=np.append(mixture.width, mixture.width[nearest]),
    )


def _resampled_counts(evidence: Evidence, mixture: Mixture, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n, m) how often each track counts in each replicate: a bootstrap over particles, not over tracks.

    One particle comes back many times, and nobody knows which tracks are one particle's. A size is drawn for each track from its
    posterior, the tracks are sorted by it and cut into runs of as many as a particle of that size makes; runs are resampled.
    """
    n_tracks, n_sizes = evidence.matrix.shape
    cumulative = np.empty((n_tracks, n_sizes), np.float32)
    cells = mixture.cells(evidence.ln_d)
    for rows, some in blocks(evidence.matrix):
        total = np.cumsum(some * cells, axis=1)
        cumulative[rows] = total / np.maximum(total[:, -1:], LEAST)
    counts = np.empty((n, n_tracks), np.uint8)
    for b in range(n):
        at = np.asarray(rng.random(n_tracks), np.float32)[:, None]
        size = np.concatenate([np.count_nonzero(cumulative[i : i + ROWS] < at[i : i + ROWS], axis=1) for i in range(0, n_tracks, ROWS)])
        size = np.minimum(size, n_sizes - 1)
        order = np.lexsort((rng.random(n_tracks), size))
        run = np.floor(np.cumsum(1.0 / evidence.tracks_per_particle[size[order]]) + rng.random()).astype(int)
        run -= run[0]
        # Poisson, not multinomial: how many particles came is luck too
        counts[b, order] = rng.poisson(1.0, run[-1] + 1)[run]
    return counts


def _refit(evidence: Evidence, mixture: Mixture, counts: np.ndarray) -> list[Mixture]:
    """Fit again to each set of counts, (b, m), side by side: Fisher scoring for the components, the outliers by EM beside it."""
    inverse = inverted(scores(evidence, mixture)[0])
    b = len(counts)
    best, reached, stride, step = [mixture] * b, np.full(b, -np.inf), np.ones(b), np.zeros((b, len(inverse)))
    tried = list(best)
    for _ in range(STEPS):
        cells = np.array([m.cells(evidence.ln_d) for m in tried])
        other = np.array([m.outlier for m in tried])
        growth, joined, loglik = np.zeros_like(cells), np.zeros_like(other), -cells @ evidence.expected - other.sum(axis=1)
        for rows, some in blocks(evidence.matrix):
            mixed = cells @ some.T + other @ evidence.outliers[rows].T + LEAST
            ratio = counts[:, rows] / mixed
            growth += ratio @ some
            joined += ratio @ evidence.outliers[rows]
            loglik += np.einsum("ij,ij->i", counts[:, rows], np.log(mixed))
        for i in range(b):
            if loglik[i] >= reached[i]:
                reached[i] = loglik[i]
                best[i] = replace(tried[i], outlier=np.maximum(tried[i].outlier * joined[i], FEWEST_TRACKS))
                step[i] = inverse @ (tried[i].slopes(evidence.ln_d) @ (growth[i] - evidence.expected))
                stride[i] = min(1.0, 2 * stride[i])
            else:
                stride[i] /= 4  # what all tracks tell of the way is not what these do
        tried = [_stepped(m, f * s) for m, f, s in zip(best, stride, step, strict=True)]
    return best


def _stepped(mixture: Mixture, step: np.ndarray) -> Mixture:
    j = len(mixture.centre)
    step = step * min(1.0, LONGEST / max(float(np.abs(step[:j]).max()), LONGEST))
    width = mixture.width
    if mixture.widths != "none":
        width = np.sqrt(np.clip(width**2 + step[2 * j :], NARROWEST**2, WIDEST**2))
    return replace(mixture, number=mixture.number * np.exp(step[:j]), centre=mixture.centre + step[j : 2 * j], width=width)
