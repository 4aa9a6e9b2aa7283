"""Result, Simulation -> Score: how far the answer for one simulated video is from what was put in.

Points are judged against the particles present, which takes the luck of the draw out; intervals against the sample, of which they speak.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nta.distribution import Distribution, Interval
from nta.errors import Notice
from nta.motion import CLUMP_SIZE
from nta.recipe import Population, Recipe
from nta.result import LEFT_OUT, Result
from nta.simulate import Simulation
from nta.truth import sample_distribution

QUANTILES = {"d10": 0.1, "d50": 0.5, "d90": 0.9}
NEAR_GAP = 0.1  # cumulative fraction about a gap between populations within which a quantile is anywhere in the gap
EDGE_NUDGE, EDGE_SHARE = 1.05, 0.1  # a class edge moved by 5 %, and the share of the particles that may then change class
CLEAR_MODE = 2.0  # height of the highest peak over the next from which the mode is one of them for certain
MATCH_SIGMAS = 2.0  # a spot within this many widths of a particle is on it


@dataclass(frozen=True)
class Truth:
    """What was there.

    Attributes
    ----------
    sample_nm, sample : diameters, and their weights, sum 1
    present_nm, present : (n,), of each particle that was in the truth's box: diameter, and share of all its fellows' frames there, sum 1
    sized : (n,) bool, whether a sized track is of it
    in_view : particles in the box at a time
    smallest_sized_nm : diameter of the smallest particle with a sized track, in the box or not; NaN for none
    """

    sample_nm: np.ndarray
    sample: np.ndarray
    present_nm: np.ndarray
    present: np.ndarray
    sized: np.ndarray
    in_view: float
    smallest_sized_nm: float


@dataclass(frozen=True)
class Line:
    """One statistic of one video.

    `unit` is ``nm``, or empty for a share; `present` is NaN where those present do not say; `why_not` tells why it is not judged, empty
    where it is.
    """

    statistic: str
    unit: str
    measured: Interval
    sample: float
    present: float = math.nan
    why_not: str = ""

    @property
    def error(self) -> float:
        """Relative error of a diameter, difference of a share; against `present`, where that is not known against `sample`."""
        truth = self.sample if math.isnan(self.present) else self.present
        return self.measured.value / truth - 1 if self.unit else self.measured.value - truth

    @property
    def covers(self) -> bool | None:
        """Whether the interval holds the sample's value; ``None`` where there is no interval."""
        if math.isnan(self.measured.low):
            return None
        slack = 1e-9 * max(abs(self.sample), 1.0)
        return self.measured.low - slack <= self.sample <= self.measured.high + slack


@dataclass(frozen=True)
class Score:
    """What came out of one simulated video; with an `error` there is nothing else.

    Attributes
    ----------
    lines : statistics, class fractions, peaks
    w1_present, w1_sample : Wasserstein distance in ln(diameter) from the measured distribution to those present and to the sample
    w1_luck : the same from those present to the sample: what a perfect instrument would reach with this video
    peaks, peaks_true : number of peaks found, and of populations in the recipe
    particles_present, present_per_frame : different particles in the truth's box, and how many of them at a time
    sized_share : share of those present at a time that have a sized track, then or at another time
    smallest_sized_nm, smallest_present_nm : smallest particle with a sized track, and in the box
    grid_nm, weight : the measured distribution
    simulate_s, analyze_s : wall time
    """

    recipe: Recipe
    seed: int
    error: str = ""
    lines: tuple[Line, ...] = ()
    w1_present: float = math.nan
    w1_sample: float = math.nan
    w1_luck: float = math.nan
    peaks: int = 0
    peaks_true: int = 0
    particles_present: int = 0
    present_per_frame: float = math.nan
    sized_share: float = math.nan
    tracks_sized: int = 0
    smallest_sized_nm: float = math.nan
    smallest_present_nm: float = math.nan
    detection_limit_nm: float = math.nan
    notices: tuple[Notice, ...] = ()
    grid_nm: np.ndarray = field(default_factory=lambda: np.empty(0))
    weight: np.ndarray = field(default_factory=lambda: np.empty(0))
    simulate_s: float = math.nan
    analyze_s: float = math.nan

    @property
    def judged(self) -> tuple[Line, ...]:
        """The lines that count: judged, and with something measured."""
        return tuple(line for line in self.lines if not line.why_not and math.isfinite(line.measured.value))


def find_truth(result: Result, simulation: Simulation) -> Truth:
    """Follow the particles through the film once more, and tell which of them the sized tracks of `result` are of.

    A track is of the particle that most of its spots, and half of them at least, lie on.
    """
    from scipy.spatial import cKDTree

    spots, tracks = result.tracks.spots, result.tracks
    is_sized = np.zeros(len(tracks), bool)
    is_sized[_sized(result)] = True
    spot = np.flatnonzero(is_sized[tracks.track_of_spot])
    spot = spot[np.argsort(spots.frame[spot], kind="stable")]
    radius = MATCH_SIGMAS * simulation.recipe.spot_sigma_px
    pairs, there = [np.empty((0, 2), np.int64)], [np.empty((0, 2))]
    known: dict[int, float] = {}
    for at in simulation.positions():
        here = spot[slice(*np.searchsorted(spots.frame[spot], [at.frame, at.frame + 1]))]
        places = cKDTree(np.column_stack([at.x_px, at.y_px]))
        near, which = places.query(np.column_stack([spots.x_px[here], spots.y_px[here]]), distance_upper_bound=radius)
        hit = np.isfinite(near)
        pairs.append(np.column_stack([tracks.track_of_spot[here[hit]], at.particle[which[hit]]]))
        known |= zip(at.particle[which[hit]].tolist(), at.diameter_nm[which[hit]].tolist(), strict=True)
        there.append(np.column_stack([at.particle[at.present], at.diameter_nm[at.present]]))
    found = _most_of(np.concatenate(pairs), tracks.n_spots)
    present, first, frames = np.unique((seen := np.concatenate(there))[:, 0], return_index=True, return_counts=True)
    return Truth(
        *sample_distribution(simulation.recipe),
        present_nm=seen[first, 1],
        present=frames / max(frames.sum(), 1),
        sized=np.isin(present, found),
        in_view=len(seen) / simulation.n_frames,
        smallest_sized_nm=min((known[int(particle)] for particle in found), default=math.nan),
    )


def _sized(result: Result) -> np.ndarray:
    """Return the numbers of the tracks that count in the distribution."""
    return result.linked[(result.sizes.flags[result.linked] & np.uint32(sum(LEFT_OUT))) == 0]


def _most_of(pairs: np.ndarray, n_spots: np.ndarray) -> np.ndarray:
    """Return the particles that half the spots of some track or more are on, from (track, particle) of each such spot."""
    each, count = np.unique(pairs, axis=0, return_counts=True)
    return np.unique(each[2 * count >= n_spots[each[:, 0]], 1])


def find_score(result: Result, simulation: Simulation) -> Score:
    """Judge `result` by what `simulation` knows."""
    distribution, recipe, truth = result.distribution, simulation.recipe, find_truth(result, simulation)
    limit = result.detection_limit_nm
    return Score(
        recipe=recipe,
        seed=simulation.seed,
        lines=(*_sizes(distribution, recipe, truth), *_classes(result, truth), *_peaks(distribution, recipe, truth)),
        w1_present=distance(distribution, truth.present_nm, truth.present),
        w1_sample=distance(distribution, truth.sample_nm, truth.sample),
        w1_luck=_luck(truth),
        peaks=len(distribution.peaks),
        peaks_true=len(components(recipe)),
        particles_present=len(truth.present),
        present_per_frame=truth.in_view,
        sized_share=float(truth.present[truth.sized].sum()) if len(truth.present) else math.nan,
        tracks_sized=len(_sized(result)),
        smallest_sized_nm=truth.smallest_sized_nm,
        smallest_present_nm=float(truth.present_nm.min(initial=math.inf)) if len(truth.present) else math.nan,
        detection_limit_nm=math.nan if limit is None else limit,
        notices=result.notices,
        grid_nm=distribution.grid_nm,
        weight=distribution.weight,
    )


def by_recipe(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Return the scores of each recipe, by its name, in the order given."""
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(score.recipe.name, []).append(score)
    return found


# --- lines ---


def _sizes(distribution: Distribution, recipe: Recipe, truth: Truth) -> Iterator[Line]:
    for name, q in QUANTILES.items():
        sample, present = _quantile(truth.sample_nm, truth.sample, q), _quantile(truth.present_nm, truth.present, q)
        yield Line(name, "nm", distribution.statistic(name), sample, present, _near_gap(q, recipe))
    means = (float(truth.sample_nm @ truth.sample), float(truth.present_nm @ truth.present) if len(truth.present) else math.nan)
    yield Line("mean", "nm", distribution.statistic("mean"), *means)
    mode, why_not = true_mode(recipe)
    # a finite number of particles has no mode
    yield Line("mode", "nm", distribution.statistic("mode"), mode, math.nan, why_not)


def _classes(result: Result, truth: Truth) -> Iterator[Line]:
    for c, measured in zip(result.classes.classes, result.classes.fraction, strict=True):
        sample = _share(truth.sample_nm, truth.sample, c.low_nm, c.high_nm)
        present = _share(truth.present_nm, truth.present, c.low_nm, c.high_nm)
        yield Line(f"fraction_{c.name}", "", measured, sample, present, _on_edge(truth, [c.low_nm, c.high_nm]))


def _peaks(distribution: Distribution, recipe: Recipe, truth: Truth) -> Iterator[Line]:
    """Give diameter and share of the peak nearest to each population; two populations that are not resolved share one."""
    populations = components(recipe)
    bounds = [0.0, *_gaps(populations), math.inf]
    for i, p in enumerate(populations):
        nearest = min(distribution.peaks, key=lambda peak: abs(math.log(peak.diameter_nm / p.diameter_nm)), default=None)
        diameter, share = (math.nan, math.nan) if nearest is None else (nearest.diameter_nm, nearest.fraction)
        present, present_share = math.nan, math.nan
        if len(bounds) == len(populations) + 1:  # all apart: those present belong to one each
            inside = (truth.present_nm >= bounds[i]) & (truth.present_nm < bounds[i + 1])
            present = _quantile(truth.present_nm[inside], truth.present[inside], 0.5)
            present_share = float(truth.present[inside].sum())
        yield Line(f"peak_{i + 1}", "nm", _bare(diameter), p.diameter_nm, present)
        yield Line(f"peak_{i + 1}_fraction", "", _bare(share), p.fraction, present_share)


def _bare(value: float) -> Interval:
    return Interval(value, math.nan, math.nan, math.nan, math.nan)


# --- what can be judged ---


def components(recipe: Recipe) -> list[Population]:
    """Return what the sample is made of in ascending order, clumps of two included; the fractions sum to 1."""
    whole = sum(p.fraction for p in recipe.populations)
    single = [replace(p, fraction=p.fraction / whole * (1 - recipe.clumps)) for p in recipe.populations]
    double = [replace(p, diameter_nm=CLUMP_SIZE * p.diameter_nm, fraction=p.fraction / whole * recipe.clumps) for p in recipe.populations]
    return sorted((p for p in [*single, *double] if p.fraction > 0), key=lambda p: p.diameter_nm)


def _gaps(populations: Sequence[Population]) -> list[float]:
    """Return a diameter between each two neighbours that are apart: two standard deviations of each find room between them."""
    found = []
    for left, right in itertools.pairwise(populations):
        low, high = left.diameter_nm * left.gsd**2, right.diameter_nm / right.gsd**2
        if high > low:
            found.append(math.sqrt(low * high))
    return found


def _near_gap(q: float, recipe: Recipe) -> str:
    populations = components(recipe)
    for gap in _gaps(populations):
        below = sum(p.fraction for p in populations if p.diameter_nm < gap)
        if abs(q - below) <= NEAR_GAP + 1e-9:
            return f"within {NEAR_GAP:g} of the gap between populations at {gap:.0f} nm"
    return ""


def _on_edge(truth: Truth, edges_nm: Sequence[float]) -> str:
    for edge in edges_nm:
        moved = (_share(truth.sample_nm, truth.sample, *ends) for ends in ((edge / EDGE_NUDGE, edge), (edge, edge * EDGE_NUDGE)))
        if 0 < edge < math.inf and max(moved) > EDGE_SHARE:
            return f"the class edge at {edge:g} nm runs through a population"
    return ""


def true_mode(recipe: Recipe) -> tuple[float, str]:
    """Return the diameter in nm of the sample's highest number density per nm, and why it is not judged (empty where it is).

    A log-normal of median m and ln(GSD) s has its mode at ``m exp(-s^2)``. Exactly one size is as high as its share over its diameter,
    as it would be at any one relative resolution.
    """
    populations = components(recipe)
    modes = [p.diameter_nm * math.exp(-(math.log(p.gsd) ** 2)) for p in populations]
    narrowest = min((math.log(p.gsd) for p in populations if p.gsd > 1), default=1.0)
    heights = [p.fraction / (mode * (math.log(p.gsd) if p.gsd > 1 else narrowest)) for p, mode in zip(populations, modes, strict=True)]
    order = np.argsort(heights)
    if len(_gaps(populations)) < len(populations) - 1:
        return modes[order[-1]], "the populations overlap"
    if len(populations) > 1 and heights[order[-1]] < CLEAR_MODE * heights[order[-2]]:
        return modes[order[-1]], "two populations are about as high"
    return modes[order[-1]], ""


# --- weighted sets of diameters ---


def _quantile(nm: np.ndarray, weight: np.ndarray, q: float) -> float:
    if not weight.sum() > 0:
        return math.nan
    order = np.argsort(nm, kind="stable")
    cumulative = np.cumsum(weight[order]) / weight.sum()
    return float(nm[order][min(int(np.searchsorted(cumulative, q)), len(nm) - 1)])


def _share(nm: np.ndarray, weight: np.ndarray, low_nm: float, high_nm: float) -> float:
    return float(weight[(nm >= low_nm) & (nm < high_nm)].sum()) if len(weight) else math.nan


def _luck(truth: Truth) -> float:
    from scipy.stats import wasserstein_distance

    if not len(truth.present):
        return math.nan
    return float(wasserstein_distance(np.log(truth.present_nm), np.log(truth.sample_nm), truth.present, truth.sample))


def distance(distribution: Distribution, nm: np.ndarray, weight: np.ndarray) -> float:
    """Return the Wasserstein distance in ln(diameter) to a weighted set: the area between the two cumulative curves.

    Within a cell of the grid the weight is uniform in ln d, as everywhere: one curve is piecewise linear, the other a staircase.
    """
    if distribution.empty or not len(weight):
        return math.nan
    order = np.argsort(nm, kind="stable")
    points, stairs = np.log(nm[order]), np.append(0.0, np.cumsum(weight[order]))
    edges, rise = np.log(distribution.edges_nm), np.append(0.0, np.cumsum(distribution.weight))
    x = np.unique(np.concatenate([edges, points]))
    line = np.interp(x, edges, rise)
    step = stairs[np.searchsorted(points, x[:-1], side="right")]
    left, right = line[:-1] - step, line[1:] - step
    both = np.abs(left) + np.abs(right)
    # the mean of |a straight line|: over a change of sign the two triangles
    mean = np.where(left * right >= 0, both / 2, (left**2 + right**2) / (2 * np.maximum(both, 1e-300)))
    return float(np.sum(mean * np.diff(x)))
