"""Recipe, who was present -> the two truths of a simulated film: of the sample, and of the particles that were there."""

from __future__ import annotations

import itertools
import math

import numpy as np

from nta.motion import CLUMP_SIZE
from nta.recipe import Recipe


def sample_distribution(recipe: Recipe, n: int = 4001) -> tuple[np.ndarray, np.ndarray]:
    """Return the sample truth as hydrodynamic diameters in nm and number weights that sum to 1: `n` quantiles of each population.

    Where the recipe has clumps there are as many again, larger by `CLUMP_SIZE`.
    """
    from scipy.special import ndtri

    z = ndtri((np.arange(n) + 0.5) / n)
    share = np.array([p.fraction for p in recipe.populations]) / sum(p.fraction for p in recipe.populations)
    diameter = np.concatenate([p.diameter_nm * p.gsd**z if p.gsd > 1 else np.full(n, float(p.diameter_nm)) for p in recipe.populations])
    weight = np.repeat(share / n, n)
    if recipe.clumps == 0:
        return diameter, weight
    return np.concatenate([diameter, CLUMP_SIZE * diameter]), np.concatenate([(1 - recipe.clumps) * weight, recipe.clumps * weight])


def summary(diameter_nm: np.ndarray, weight: np.ndarray) -> dict[str, float | None]:
    """Return mean, sd, quantiles and default class fractions of a weighted set of diameters; ``None`` when it is empty."""
    keys = "mean_nm sd_nm d10_nm d50_nm d90_nm fraction_below_30 fraction_30_100 fraction_100_1000 fraction_above_1000".split()
    if not len(diameter_nm):
        return dict.fromkeys(keys)
    order = np.argsort(diameter_nm, kind="stable")
    d, w = diameter_nm[order], weight[order] / weight.sum()
    mean = float(np.sum(w * d))
    cumulative = np.cumsum(w)
    quantiles = [float(d[min(int(np.searchsorted(cumulative, q)), len(d) - 1)]) for q in (0.1, 0.5, 0.9)]
    edges = (0.0, 30.0, 100.0, 1000.0, math.inf)
    shares = [float(w[(d >= low) & (d < high)].sum()) for low, high in itertools.pairwise(edges)]
    return dict(zip(keys, [mean, math.sqrt(float(np.sum(w * (d - mean) ** 2))), *quantiles, *shares], strict=True))
