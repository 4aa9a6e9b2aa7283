"""Distribution -> Classes: the fraction of each size class, with intervals, and each track's class."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from nta.diffusion import Diffusion
from nta.distribution import Distribution, Interval
from nta.errors import UsageError
from nta.settings import nearest_hint

NAMED = {"misev": "small_ev:30-200,large_ev:200-"}


@dataclass(frozen=True)
class SizeClass:
    """Diameters ``low_nm <= d < high_nm``; `high_nm` may be inf."""

    name: str
    low_nm: float
    high_nm: float


@dataclass(frozen=True)
class Classes:
    """Class fractions of the distribution, and the posterior class of each track.

    Attributes
    ----------
    classes : tuple of SizeClass, ascending, covering 0 to infinity
    fraction : tuple of Interval, one a class
    p_class : (n_tracks, n_classes) float64, posterior given the track and the video's distribution; NaN where not sized
    label : (n_tracks,) int64, the most probable class, -1 where not sized
    """

    classes: tuple[SizeClass, ...]
    fraction: tuple[Interval, ...]
    p_class: np.ndarray
    label: np.ndarray


def parse_classes(spec: str) -> tuple[SizeClass, ...]:
    """Read ``NAME:LOW-HIGH,...`` in nm (the last HIGH may be missing) or ``misev``; add what is missing to cover all sizes.

    Raises
    ------
    UsageError
        For what cannot be read, for classes that overlap and for a name given twice.
    """
    if ":" not in spec and spec not in NAMED:
        raise UsageError(f"--classes: {spec!r} is neither NAME:LOW-HIGH,... nor a known set{nearest_hint(spec, NAMED)}")
    given = []
    for part in NAMED.get(spec, spec).split(","):
        match = re.fullmatch(r"\s*([A-Za-z][\w-]*)\s*:\s*([\d.]+)\s*-\s*([\d.]*)\s*", part)
        try:
            if match is None:
                raise ValueError
            low, high = float(match[2]), float(match[3]) if match[3] else math.inf
        except ValueError:
            raise UsageError(f"--classes: {part!r} is not NAME:LOW-HIGH in nm, such as small:30-200 or large:200-") from None
        if not low < high:
            raise UsageError(f"--classes: {part!r} is empty; its lower edge must be below its upper")
        given.append(SizeClass(match[1], low, high))
    given.sort(key=lambda c: c.low_nm)
    covered: list[SizeClass] = []
    reached = 0.0
    for c in given:
        if c.low_nm < reached:
            raise UsageError(f"--classes: {covered[-1].name} and {c.name} overlap; each class must end where the next begins or before")
        if c.low_nm > reached:
            covered.append(SizeClass(f"below_{c.low_nm:g}" if not covered else f"from_{reached:g}_to_{c.low_nm:g}", reached, c.low_nm))
        covered.append(c)
        reached = c.high_nm
    if reached < math.inf:
        covered.append(SizeClass(f"above_{reached:g}", reached, math.inf))
    names = [c.name for c in covered]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"--classes: a name stands twice in {', '.join(twice)}")
    return tuple(covered)


def find_classes(distribution: Distribution, diffusion: Diffusion, n_tracks: int, spec: str) -> Classes:
    """Return each class's share of the distribution and each track's posterior class.

    The interval of a share is the replicates', widened to what a count of independent particles of its sizes allows (Jeffreys), down to
    zero where the tracks are explained as well without the class, and up to one where they are without all others.
    """
    classes = parse_classes(spec)
    p_class = np.full((n_tracks, len(classes)), np.nan)
    label = np.full(n_tracks, -1, np.int64)
    edges = [classes[0].low_nm, *(c.high_nm for c in classes)]
    fraction = distribution.shares(edges)
    if not distribution.empty:
        fraction = [_widened(f, c, distribution) for f, c in zip(fraction, classes, strict=True)]
        inside = _cells_inside(diffusion.grid_nm, classes)
        # in the precision of the posterior, which would be copied otherwise
        moving = (distribution.posterior @ inside.astype(distribution.posterior.dtype)).astype(float)
        p_class[diffusion.track] = moving / np.maximum(moving.sum(axis=1, keepdims=True), 1e-300)
        label[diffusion.track] = p_class[diffusion.track].argmax(axis=1)
        other = diffusion.track[distribution.outlier.sum(axis=1) > 0.5]
        p_class[other], label[other] = np.nan, -1
    return Classes(classes, tuple(fraction), p_class, label)


def _cells_inside(grid_nm: np.ndarray, classes: tuple[SizeClass, ...]) -> np.ndarray:
    """Return (k, n_classes) the share of the cell about each grid point that lies in each class."""
    half = 0.5 * np.log(grid_nm[1] / grid_nm[0])
    ln = np.append(np.log(grid_nm) - half, np.log(grid_nm[-1]) + half)
    with np.errstate(divide="ignore"):
        bounds = [(np.log(c.low_nm), np.log(c.high_nm)) for c in classes]
    return np.column_stack([np.clip(np.minimum(ln[1:], b) - np.maximum(ln[:-1], a), 0, None) / np.diff(ln) for a, b in bounds])


def _widened(share: Interval, c: SizeClass, distribution: Distribution) -> Interval:
    from scipy.special import betaincinv

    n = max(_seen(c, distribution), 1.0)
    value = min(max(share.value, 0.0), 1.0)
    a, b = value * n + 0.5, (1 - value) * n + 0.5
    low, high = float(betaincinv(a, b, 0.025)), float(betaincinv(a, b, 0.975))
    if low > 0 and distribution.emptiable(c.low_nm, c.high_nm):
        low = 0.0
    below = c.low_nm == 0 or distribution.emptiable(0.0, c.low_nm)
    if below and (c.high_nm == math.inf or distribution.emptiable(c.high_nm, math.inf)):
        high = 1.0
    low_stat, high_stat = min(share.low_stat, low, value), max(share.high_stat, high, value)
    return Interval(value, min(share.low, low_stat), max(share.high, high_stat), low_stat, high_stat)


def _seen(c: SizeClass, distribution: Distribution) -> float:
    """Return how many different particles would be seen if all were of the class: of large ones, which stay, fewer come by.

    Its sizes count as they are found in it, half a particle's worth of them evenly.
    """
    inside = _cells_inside(distribution.grid_nm, (c,))[:, 0]
    weight = distribution.weight * inside + 0.5 / max(distribution.independent_particles, 0.5) * inside / max(inside.sum(), 1e-12)
    return float(weight @ distribution.seen_if_all / max(weight.sum(), 1e-300))
