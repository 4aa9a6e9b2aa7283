"""Tracks' likelihoods -> Distribution: the number-weighted size distribution, its peaks and intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from nta import medium
from nta.blocks import LEAST, blocks, expect
from nta.diffusion import Diffusion, size_grid_nm
from nta.emptiness import find_emptiable
from nta.errors import Notice
from nta.mixture import Evidence, Mixture, fit_mixtures
from nta.physics import ZERO_CELSIUS_K
from nta.presence import Presence, span_frames, stuck_or_chance, tracks_of_one
from nta.replicates import draw_replicates
from nta.settings import Settings, Used
from nta.tracks import Tracks
from nta.video import Calibration

REPLICATES = 200
FEW = 4096  # tracks whose likelihoods are kept in double precision: to convert them for every sum takes longer than it saves memory
WITHIN = (0.01, 0.99)  # of the tracks
FINER = 8  # steps of the distribution's grid to one of the likelihoods'
RARE = 2.0  # directed and confined: their share is exponential about 0 a priori, so that freely diffusing tracks are not theirs by luck
STATISTICS = ("mean", "mode", "sd", "d10", "d50", "d90", "span")


def _never(low_nm: float, high_nm: float) -> bool:
    return False


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; `low_stat, high_stat` without the Type-B terms (temperature, pixel size, exposure)."""

    value: float
    low: float
    high: float
    low_stat: float
    high_stat: float


@dataclass(frozen=True)
class Peak:
    """A component of the log-normal mixture that names the peaks."""

    diameter_nm: float
    fraction: float
    gsd: float


@dataclass(frozen=True)
class Distribution:
    """Number-weighted size distribution.

    Attributes
    ----------
    grid_nm : (k,) float64, log-spaced
    weight : (k,) float64, sums to 1 (all zero when no track was sized)
    unweighted : (k,) float64, the same per track instead of per particle, sums to 1
    replicates : (b, k) float64, resampled `weight`
    scale : (b,) float64, factor on the diameters of each replicate drawn from the Type-B uncertainties
    scale_sd : float, relative standard uncertainty of every diameter from temperature, pixel size and exposure
    raw_nm : (m,) float64, maximum-likelihood diameters of the tracks, the raw histogram
    number_in_view : Interval, particles in view at a time, after the correction
    number_per_um : Interval, the same per um of depth
    simple : (k,) float64, `weight` by another way: detections over those that a particle of each size makes; lengths of tracks do not count
    peaks : tuple of Peak, ascending diameter
    posterior : (m, l) float32, probability of each size of the grid of `Diffusion` for each of its tracks
    outlier : (m, 4) float64, probability that it is immobile, a chain of chance links, directed, or confined
    independent_particles : how many different particles the tracks are of
    seen_if_all : (k,) float64, the same if all particles that there are were of one size, for each
    emptiable : ``(low_nm, high_nm) -> bool``, whether the tracks are explained as well without any particle between
    """

    grid_nm: np.ndarray
    weight: np.ndarray
    unweighted: np.ndarray
    replicates: np.ndarray
    scale: np.ndarray
    scale_sd: float
    raw_nm: np.ndarray
    number_in_view: Interval
    number_per_um: Interval = Interval(0.0, 0.0, 0.0, 0.0, 0.0)
    simple: np.ndarray = field(default_factory=lambda: np.empty(0))
    peaks: tuple[Peak, ...] = ()
    posterior: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    outlier: np.ndarray = field(default_factory=lambda: np.empty((0, 4)))
    independent_particles: float = 0.0
    seen_if_all: np.ndarray = field(default_factory=lambda: np.empty(0))
    emptiable: Callable[[float, float], bool] = _never
    chosen: Mapping[str, Used] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    @property
    def empty(self) -> bool:
        """True when no track was sized."""
        return not self.weight.any()

    @cached_property
    def edges_nm(self) -> np.ndarray:
        """(k + 1,) cell edges: geometric midpoints of the grid, half a cell beyond its ends."""
        step = np.log(self.grid_nm[1] / self.grid_nm[0])
        return np.exp(np.append(np.log(self.grid_nm) - step / 2, np.log(self.grid_nm[-1]) + step / 2))

    @cached_property
    def _cumulative(self) -> np.ndarray:
        """(1 + b, k + 1) cumulative weight at the edges of the estimate and of each replicate."""
        weights = np.vstack([self.weight, self.replicates])
        return np.hstack([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)])

    def _below(self, diameter_nm: np.ndarray, row: int, scale: float = 1.0) -> np.ndarray:
        """Return the share below each diameter; within a cell the weight is uniform in ln d."""
        with np.errstate(divide="ignore"):
            return np.interp(np.log(diameter_nm / scale), np.log(self.edges_nm), self._cumulative[row])

    def shares(self, edges_nm: Sequence[float] | np.ndarray) -> list[Interval]:
        """Return the number fraction between each edge and the next (NaN when empty)."""
        edges = np.asarray(edges_nm, float)
        if self.empty:
            return [Interval(*[np.nan] * 5)] * (len(edges) - 1)
        value = np.diff(self._below(edges, 0))
        drawn = [np.diff(self._below(edges, b + 1)) for b in range(len(self.replicates))]
        scaled = [np.diff(self._below(edges, b + 1, s)) for b, s in enumerate(self.scale)]
        return _intervals(value, np.array(drawn), np.array(scaled))

    def share(self, low_nm: float, high_nm: float) -> Interval:
        """Number fraction with ``low_nm <= diameter < high_nm`` (NaN when empty)."""
        return self.shares([low_nm, high_nm])[0]

    def statistic(self, name: str) -> Interval:
        """``mean, mode, sd, d10, d50, d90`` in nm, or ``span`` = (D90 - D10) / D50 (NaN when empty)."""
        return self._statistics[name]

    def median_of(self, weight: np.ndarray) -> float:
        """Return the median of other weights on the grid, nm."""
        return float(np.exp(np.interp(0.5, np.append(0.0, np.cumsum(weight)) / weight.sum(), np.log(self.edges_nm))))

    @cached_property
    def _statistics(self) -> dict[str, Interval]:
        if self.empty:
            return {name: Interval(*[np.nan] * 5) for name in STATISTICS}
        value = self._summary(self.weight, 0)
        drawn = np.array([self._summary(w, b + 1) for b, w in enumerate(self.replicates)])
        # every length scales with the diameter; the span is a ratio
        scaled = np.array([d * np.where(np.array(STATISTICS) == "span", 1.0, s) for d, s in zip(drawn, self.scale, strict=True)])
        return dict(zip(STATISTICS, _intervals(value, drawn, scaled), strict=True))

    def _summary(self, weight: np.ndarray, row: int) -> np.ndarray:
        """Return `STATISTICS` of one distribution."""
        d, half = self.grid_nm, 0.5 * np.log(self.grid_nm[1] / self.grid_nm[0])
        # means of d and d^2 over a cell in which the weight is uniform in ln d
        mean = weight @ d * np.sinh(half) / half
        square = weight @ d**2 * np.sinh(2 * half) / (2 * half)
        ln_edges, cumulative = np.log(self.edges_nm), self._cumulative[row]
        rises = np.diff(cumulative) > 0
        rising = np.append(rises, True) | np.append(True, rises)  # both ends of every cell that holds something
        d10, d50, d90 = np.exp(np.interp([0.1, 0.5, 0.9], cumulative[rising], ln_edges[rising]))
        return np.array([mean, _mode(d, weight), np.sqrt(max(square - mean**2, 0.0)), d10, d50, d90, (d90 - d10) / d50])


def _mode(d: np.ndarray, weight: np.ndarray) -> float:
    """Return the diameter of the highest number density per nm, between grid points by a parabola."""
    height = np.log(np.maximum(weight / d, 1e-300))
    i = int(np.clip(np.argmax(height), 1, len(d) - 2))
    before, at, after = height[i - 1 : i + 2]
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(d[i] * (d[1] / d[0]) ** np.clip(shift, -1, 1))


def _intervals(value: np.ndarray, drawn: np.ndarray, scaled: np.ndarray) -> list[Interval]:
    """Return 95 % percentile intervals, each widened to hold its value and the narrower one."""
    if not len(drawn):
        return [Interval(*[float(v)] * 5) for v in value]
    low_stat, high_stat = np.percentile(drawn, [2.5, 97.5], axis=0)
    low, high = np.percentile(scaled, [2.5, 97.5], axis=0)
    low_stat, high_stat = np.minimum(low_stat, value), np.maximum(high_stat, value)
    low, high = np.minimum(low, low_stat), np.maximum(high, high_stat)
    return [Interval(*(float(v) for v in row)) for row in zip(value, low, high, low_stat, high_stat, strict=True)]


def find_distribution(
    tracks: Tracks, diffusion: Diffusion, presence: Presence | None, calibration: Calibration, settings: Settings
) -> Distribution:
    """Deconvolve the tracks' likelihoods into the number-weighted size distribution.

    A Poisson process of tracks: ``l(c) = sum_i ln sum_k c_k E_(n_i, k) p(track_i | d_k) - sum_k c_k E_k`` with E the expected number of
    tracks of n frames that a particle of size k makes (`presence`; ``None`` when no track was sized).
    """
    grid = fine_grid_nm()
    ln_grid, nothing = np.log(grid), np.zeros(len(grid))
    scale_sd = _scale_sd(calibration, diffusion, settings)
    raw = diffusion.raw_diameters_nm()
    none = Interval(0.0, 0.0, 0.0, 0.0, 0.0)
    empty = Distribution(grid, nothing, nothing, np.empty((0, len(grid))), np.empty(0), scale_sd, raw, none)
    if presence is None or len(diffusion) == 0:
        return empty
    evidence = _evidence(tracks, diffusion, presence)
    fits = fit_mixtures(evidence)
    mixture = fits[0].mixture
    posterior, outlier = _posterior(evidence, mixture)
    if np.all(outlier.sum(axis=1) > 0.5):
        return replace(empty, posterior=posterior, outlier=outlier)
    drawn = draw_replicates(evidence, fits, REPLICATES, np.random.default_rng([settings.distribution.seed, 0]))
    weight = _weights(mixture, grid)
    unweighted = weight * np.interp(ln_grid, evidence.ln_d, presence.tracks)
    unweighted /= unweighted.sum()
    more = _more_particles(presence, evidence.ln_d, posterior.sum(axis=0), len(drawn), settings.distribution.seed)
    weights = np.array([_weights(m, grid) * np.exp(np.interp(ln_grid, evidence.ln_d, f)) for m, f in zip(drawn, more, strict=True)])
    weights /= weights.sum(axis=1, keepdims=True)
    numbers = np.array([mixture.cells(evidence.ln_d), *(m.cells(evidence.ln_d) * np.exp(f) for m, f in zip(drawn, more, strict=True))])
    in_view, per_um = numbers @ presence.depth_um, numbers.sum(axis=1)
    rng = np.random.default_rng([settings.distribution.seed, 1])
    return Distribution(
        grid_nm=grid,
        weight=weight,
        unweighted=unweighted,
        replicates=weights,
        scale=np.exp(scale_sd * rng.normal(size=len(weights))),
        scale_sd=scale_sd,
        raw_nm=raw,
        number_in_view=_intervals(in_view[:1], in_view[1:, None], in_view[1:, None])[0],
        number_per_um=_intervals(per_um[:1], per_um[1:, None], per_um[1:, None])[0],
        simple=_simple(evidence, mixture, tracks.n_spots[diffusion.track], presence, weight, grid),
        peaks=_name_peaks(mixture),
        posterior=posterior,
        outlier=outlier,
        independent_particles=float(posterior.sum(axis=0) @ (1 / evidence.tracks_per_particle)),
        seen_if_all=mixture.number.sum() * np.interp(ln_grid, evidence.ln_d, evidence.expected / evidence.tracks_per_particle),
        emptiable=find_emptiable(evidence, mixture, float(np.exp(1.96 * scale_sd))),
        chosen={**presence.chosen, "population_widths": Used(mixture.widths, "measured")},
    )


def fine_grid_nm() -> np.ndarray:
    """Return the diameters on which distributions are given: `FINER` steps to one of the likelihoods', since a size may be narrow."""
    coarse = size_grid_nm()
    return np.geomspace(coarse[0], coarse[-1], FINER * (len(coarse) - 1) + 1)


def _more_particles(presence: Presence, ln_d: np.ndarray, found: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return (n, k) draws of ln of how many more particles there are of each size, since fewer tracks of each may be expected.

    What changes a distribution's shape by no more than a tilt, from the first to the last percent of the tracks found of each size, (k,).
    """
    if not len(presence.doubt):
        return np.zeros((n, len(ln_d)))
    share = found / found.sum()
    ends = np.interp(WITHIN, np.cumsum(share), ln_d)
    centred = ln_d - share @ ln_d
    slope = (presence.doubt * share) @ centred / max(share @ centred**2, LEAST)
    tilt = (presence.doubt @ share)[:, None] + slope[:, None] * np.clip(centred, *(ends - share @ ln_d))
    return np.asarray(-np.random.default_rng([seed, 2]).normal(size=(n, len(tilt))) @ tilt)


def _weights(mixture: Mixture, grid_nm: np.ndarray) -> np.ndarray:
    """Return the share of each cell of the grid, sum 1; what a component has beyond it is not counted."""
    half = 0.5 * np.log(grid_nm[1] / grid_nm[0])
    inside = np.diff(mixture.below(np.append(np.log(grid_nm) - half, np.log(grid_nm[-1]) + half)))
    return np.asarray(inside / inside.sum())


def _name_peaks(mixture: Mixture) -> tuple[Peak, ...]:
    columns = zip(mixture.centre, mixture.share, mixture.width, strict=True)
    return tuple(Peak(float(np.exp(centre)), float(share), float(np.exp(width))) for centre, share, width in columns)


def _evidence(tracks: Tracks, diffusion: Diffusion, presence: Presence) -> Evidence:
    span = span_frames(tracks)[diffusion.track]
    # how long what goes its way is seen depends on its size, which may be any
    as_others = np.log(np.mean(np.exp(presence.log_tracks - np.log(presence.tracks)), axis=1))
    log_outlier = np.column_stack(
        [
            stuck_or_chance(diffusion.loglik_immobile, diffusion.loglik_noise, span, tracks.spots.n_frames),
            diffusion.loglik_directed + as_others[span] - np.log(RARE),
            diffusion.loglik_confined - np.log(tracks.spots.n_frames) - np.log(RARE),
        ]
    )
    matrix = np.empty(diffusion.loglik.shape, float if len(diffusion) <= FEW else np.float32)
    least = np.log(np.finfo(matrix.dtype).tiny)  # smaller numbers are slow
    for rows, log_matrix in blocks(diffusion.loglik):
        log_matrix = presence.as_seen(log_matrix) + presence.log_tracks[span[rows]]
        best = np.maximum(log_matrix.max(axis=1), log_outlier[rows].max(axis=1))[:, None]
        matrix[rows] = np.exp(np.where(log_matrix - best > least, log_matrix - best, -np.inf))
        log_outlier[rows] -= best
    per_particle = tracks_of_one(presence.tracks, presence.visitors_um)
    return Evidence(matrix, presence.tracks, np.exp(log_outlier), np.log(diffusion.grid_nm), per_particle, presence.visitors_um)


def _simple(
    evidence: Evidence, mixture: Mixture, n_spots: np.ndarray, presence: Presence, weight: np.ndarray, grid_nm: np.ndarray
) -> np.ndarray:
    """Return `weight` by detections of each size, over those that one particle of it makes, instead of by tracks."""
    if not len(presence.detections):
        return np.empty(0)
    cells, once = mixture.cells(evidence.ln_d), np.ones(len(n_spots))
    by_spots, by_tracks = (expect(evidence.matrix, evidence.outliers, c, cells, mixture.outlier)[1] for c in (n_spots.astype(float), once))
    ratio = (by_spots / presence.detections) / np.maximum(by_tracks / presence.tracks, LEAST)
    found = weight * np.interp(np.log(grid_nm), evidence.ln_d, ratio)
    return np.asarray(found / found.sum())


def _posterior(evidence: Evidence, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of each size for each track, (m, k) float32, and of each kind of what does not diffuse, (m, o)."""
    posterior, cells = np.empty(evidence.matrix.shape, np.float32), mixture.cells(evidence.ln_d)
    outlier = evidence.outliers * mixture.outlier
    for rows, some in blocks(evidence.matrix):
        found = some * cells
        whole = (found.sum(axis=1) + outlier[rows].sum(axis=1) + LEAST)[:, None]
        posterior[rows] = found / whole
        outlier[rows] /= whole
    return posterior, outlier


def _scale_sd(calibration: Calibration, diffusion: Diffusion, settings: Settings) -> float:
    """Return the relative standard uncertainty that all diameters share: temperature, medium, pixel size, exposure (Type B)."""
    celsius = calibration.temperature_c.value
    # d ~ T / (eta D), and D ~ pixel^2
    slope, terms = 1.0 / (celsius + ZERO_CELSIUS_K), []
    if settings.medium.viscosity_mpas is None:
        slope -= medium.viscosity_slope(settings.medium.medium, celsius)
        terms.append(medium.viscosity_sd(settings.medium.medium))
    terms.append(slope * (calibration.temperature_c.sd or 0.0))
    pixel = calibration.pixel_size_um
    terms.append(2 * (pixel.sd or 0.0) / pixel.value)
    # D (1 - 2R) is what steps show, 2R = te / (3 dt)
    exposure = diffusion.exposure_s(calibration)
    if exposure is not None:
        terms.append((exposure.sd or 0.0) / (3 / calibration.fps.value - exposure.value))
    if "correlation_doubt" in diffusion.chosen:
        terms.append(diffusion.chosen["correlation_doubt"].value)
    return float(np.sqrt(np.sum(np.square(terms))))
