"""Tracks, Diffusion -> Presence: how many tracks, and how long, a particle of each size makes while it drifts through the light.

Small particles leave the light sooner and make more and shorter tracks; bright ones are seen deeper. Dividing by what one particle per
micrometre of depth would make turns tracks into numbers of particles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nta.blocks import NOBODY, by_motion, expect
from nta.brightness import Brightness, Looks, find_brightness, guess_brightness
from nta.depth import Depth
from nta.diffusion import Diffusion, size_grid_nm
from nta.errors import Notice
from nta.intervals import DROP_95
from nta.settings import Used
from nta.tracks import Tracks
from nta.video import Calibration
from nta.view import View, find_view

FIT_TRACKS, FIT_SIZES, FIT_SPREAD, FIT_WIDTHS = 1500, 28, 0.25, 0.15
ONE_SIZE = 20.0  # of the log-likelihood; seven tracks of one particle, as many as usual, tell the same
# time in view of a visitor goes like |N(0, 1)| (local time of Brownian motion): E[X^2] / E[X]^2, by which unequal visits lower the
# number of independent particles
UNEVENNESS = np.pi / 2
MANY_BROKEN = 0.01  # of the links; in films 0.001 to 0.004 are, and as many stop within a frame of a soft edge
TURNS = 2  # of brightness and width, each given the other
WIDTHS, FARTHEST = (float(np.log(0.1)), float(np.log(100.0))), 1.0  # ln of those considered, and how far from a first guess
GUESSES_UM = np.array([1.0, 2.0, 4.0, 8.0, 16.0])  # of the width
MOST_CLASSES, EXPECTED, FITTED = 8, 5.0, 1  # of tracks' lengths that are compared; particles in each; numbers that were fitted
DOUBT_SIZES, MOST_DOUBT = 32, 1.0  # of the grid; a factor beyond which, at the edge of what is seen, nothing is known
UNLIKELY = 1e-3  # chance of such lengths, below which the model is said not to hold


@dataclass(frozen=True)
class Presence:
    """Expected tracks of each size, for one particle per um of depth in the whole video.

    Attributes
    ----------
    log_tracks : (n + 1, k) float64, ln of the expected number of tracks that span 0 to n frames, n being the longest there is
    tracks : (k,) float64, expected number of tracks of at least `min_frames`
    depth_um : (k,) float64, full depth in which a particle of each size is seen
    visitors_um : (k,) float64, different particles that come through in the whole video, per particle per um of depth in the field
    detections : (k,) float64, expected number of detections in the `tracks`
    slowed : (k,) float64, by how much less the steps of what is followed vary than all
    doubt : (j, k) float64, what ln of the `tracks` changes by with one standard uncertainty of each of j independent causes
    width_um, width_low_um, width_high_um : SD of the light in depth, and the interval of its profile likelihood
    brightness : light over size
    lengths_chance : how likely the lengths of tracks are, or less likely ones, as the model has them; NaN for too few
    """

    log_tracks: np.ndarray
    tracks: np.ndarray
    depth_um: np.ndarray
    visitors_um: np.ndarray
    detections: np.ndarray = field(default_factory=lambda: np.empty(0))
    slowed: np.ndarray = field(default_factory=lambda: np.empty(0))
    doubt: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    width_um: float = np.nan
    width_low_um: float = np.nan
    width_high_um: float = np.nan
    brightness: Brightness | None = None
    lengths_chance: float = np.nan
    chosen: Mapping[str, Used] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    def down_to(self, grid_nm: np.ndarray, diameter_nm: float) -> Presence:
        """Return the same with all below a diameter as it is there: what could not be seen is not made up for."""
        at = min(int(np.searchsorted(grid_nm, diameter_nm)), len(grid_nm) - 1)
        nearest = np.maximum(np.arange(len(grid_nm)), at)
        names = ("tracks", "detections", "depth_um", "slowed")
        by_size = {name: getattr(self, name)[nearest] for name in names} | {
            name: getattr(self, name)[:, nearest] for name in ("log_tracks", "doubt")
        }
        return replace(self, **by_size)

    def as_seen(self, loglik: np.ndarray) -> np.ndarray:
        """Return log-likelihoods, (m, k), at the diameters that particles of each size seem to have: larger, where fast ones are missed."""
        if not len(self.slowed):
            return loglik
        ln_d, cells = np.log(size_grid_nm()), np.arange(len(self.slowed))
        place = np.interp(ln_d - np.log1p(-self.slowed), ln_d, cells)
        left = np.minimum(place.astype(int), len(cells) - 2)
        return np.asarray(loglik[:, left] * (left + 1 - place) + loglik[:, left + 1] * (place - left))


@dataclass(frozen=True)
class _Sample:
    """Some of the sized tracks, on some of the sizes.

    Attributes
    ----------
    size_nm : (k,)
    likelihood : (m, k) of each track's motion
    others : (m, 2) of what does not diffuse: stuck, and a chain of chance links, each with its length
    span : (m,) frames from first to last
    share : of all sized tracks
    """

    size_nm: np.ndarray
    likelihood: np.ndarray
    others: np.ndarray
    span: np.ndarray
    share: float


def find_presence(tracks: Tracks, diffusion: Diffusion, calibration: Calibration, min_frames: int) -> Presence:
    """Fit brightness over size and the width of the light in turn: to the tracks' signal-to-noise, and to their lengths.

    The shape of the depth over size comes from the light: in a sheet of Gaussian profile of SD w a particle of peak signal-to-noise q
    above the threshold is seen to ``w sqrt(2 ln q)``. Where more tracks of clear particles stop than links break, the light may have an
    end instead: what explains the lengths better is taken.
    """
    exposure = diffusion.exposure_s(calibration)
    exposure_s = 0.5 / calibration.fps.value if exposure is None else float(exposure.value)
    view = find_view(tracks, diffusion.track, calibration, exposure_s, min_frames)
    sample, looks = _sample(tracks, diffusion, view)
    views = [view] if view.broken_share < MANY_BROKEN else [view, view.hardened()]
    fits = [_fit(sample, looks, v, diffusion.stokes_einstein_nm_um2_s) for v in views]
    brightness, profile, width = max(fits, key=lambda fit: fit[1].at(np.log(fit[2])))
    low, high = profile.interval(width)
    grid = diffusion.grid_nm
    depth = _depth(grid, brightness, width)
    log_tracks, expected, detections = _lengths(depth, int(span_frames(tracks)[diffusion.track].max()))
    chance = profile.lengths_chance(width)
    return Presence(
        log_tracks,
        expected,
        depth.full_um(),
        depth.visitors_um(),
        detections,
        depth.slowed(),
        _doubt(grid, brightness, width, high),
        width,
        low,
        high,
        brightness,
        chance,
        {"sheet_sd_um": Used(round(width, 3), "measured", round((high - low) / 3.92, 3)), **view.chosen()},
        _notices(chance),
    )


def _fit(sample: _Sample, looks: Looks, view: View, constant: float) -> tuple[Brightness, _Profile, float]:
    """Return brightness, the profile of the width, and the most likely width in um, each given the other."""
    brightness = guess_brightness(looks, view, constant)
    width = _guess_width(sample, brightness)
    for _ in range(TURNS):
        brightness = find_brightness(looks, brightness, width)
        profile = _Profile(sample, brightness)
        width = profile.best(width)
    return brightness, profile, width


def _notices(chance: float) -> tuple[Notice, ...]:
    """Say so where tracks are of other lengths than the model of the light makes them."""
    if not chance < UNLIKELY:  # nor where nobody knows
        return ()
    text = f"the tracks' lengths are not those of particles that drift through light (chance {chance:.1g}); shares of sizes may be off"
    return (Notice("track_lengths", text),)


def span_frames(tracks: Tracks) -> np.ndarray:
    """Return (n_tracks,) frames from the first to the last spot of each track, both counted."""
    frame = tracks.spots.frame
    return (frame[tracks.start[1:] - 1] - frame[tracks.start[:-1]] + 1).astype(np.int64)


def tracks_of_one(tracks: np.ndarray, visitors_um: np.ndarray) -> np.ndarray:
    """Return (k,) how many tracks count as one: E[N^2] / E[N], N those of a visitor, which are a count about its time in view."""
    return 1 + UNEVENNESS * tracks / visitors_um


def stuck_or_chance(loglik_immobile: np.ndarray, loglik_noise: np.ndarray, span: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the log-likelihood of motion and length of what does not diffuse, (m, 2).

    Something stuck stays for any time; a chain of chance links goes on with even odds.
    """
    return np.column_stack([loglik_immobile - np.log(n_frames), loglik_noise - np.log(2.0) * (span - span.min() + 1)])


def _sample(tracks: Tracks, diffusion: Diffusion, view: View) -> tuple[_Sample, Looks]:
    """Return up to `FIT_TRACKS` of the sized tracks, evenly, on `FIT_SIZES` of the grid's sizes about those there are."""
    some = np.unique(np.linspace(0, len(diffusion) - 1, FIT_TRACKS).astype(int))
    rows = diffusion.track[some]
    span = span_frames(tracks)[rows]
    log_others = stuck_or_chance(diffusion.loglik_immobile[some], diffusion.loglik_noise[some], span, view.n_frames)
    best = np.maximum(log_others.max(axis=1, keepdims=True), 0.0)  # the best size is 0
    likelihood, others = np.exp(diffusion.loglik[some] - best), np.exp(log_others - best)
    weight, rest, free = by_motion(likelihood, others)
    cumulative, ln_d = np.cumsum(weight) / weight.sum(), np.log(diffusion.grid_nm)
    first, last = np.interp([0.002, 0.998], cumulative, ln_d) + np.array([-FIT_SPREAD, FIT_SPREAD])
    cells = np.unique(np.interp(np.linspace(first, last, FIT_SIZES), ln_d, np.arange(len(ln_d))).round().astype(int))
    weight, rest, _ = by_motion(likelihood[:, cells], others)
    each = likelihood[:, cells] * weight
    beside = others @ rest
    moving = each.sum(axis=1) / (each.sum(axis=1) + beside)
    size, motion, chance = diffusion.grid_nm[cells], likelihood[:, cells], each / np.maximum(each.sum(axis=1, keepdims=True), 1e-300)
    # one size, as wide as the grid is coarse
    kernel = np.exp(-0.5 * (np.arange(len(ln_d)) - np.arange(len(ln_d))[:, None]) ** 2) / np.sqrt(2 * np.pi)
    alone = np.log(np.maximum((1 - rest.sum()) * likelihood @ kernel + beside[:, None], 1e-300)).sum(axis=0)
    if alike := bool(free - alone.max() < ONE_SIZE):
        size, chance = np.array([_summit(diffusion.grid_nm, alone)]), np.ones((len(each), 1))
        motion = likelihood @ kernel[:, [int(alone.argmax())]]
    log_ratio = np.log(tracks.spots.snr / view.threshold_snr)
    n = tracks.n_spots[rows].astype(float)
    log_snr = np.add.reduceat(log_ratio, tracks.start[:-1])[rows] / n
    looks = Looks(size, chance, moving * n / n.mean(), log_snr, span, alike)
    return _Sample(size, motion, others, span, len(rows) / len(diffusion)), looks


def _summit(size_nm: np.ndarray, height: np.ndarray) -> float:
    """Return the size at which a log-likelihood on the grid is highest, by a parabola through three points."""
    i = int(np.clip(height.argmax(), 1, len(size_nm) - 2))
    before, at, after = height[i - 1 : i + 2]
    bend = min(before - 2 * at + after, -1e-12)
    return float(size_nm[i] * (size_nm[1] / size_nm[0]) ** np.clip(0.5 * (before - after) / bend, -1, 1))


class _Profile:
    """Log-likelihood of lengths and motion over the width of the light, under the best numbers of each size."""

    def __init__(self, sample: _Sample, brightness: Brightness) -> None:
        self.sample, self.brightness = sample, brightness
        self.staying = brightness.view.staying(brightness.constant / sample.size_nm)
        self.numbers = np.full(len(sample.size_nm), np.nan)
        self.others = np.full(sample.others.shape[1], 0.01 * len(sample.span))

    def at(self, log_width: float) -> float:
        """Return the log-likelihood at a width; leaves the numbers of the last one asked for."""
        sample = self.sample
        counts = _depth(sample.size_nm, self.brightness, float(np.exp(log_width))).expected(self.staying)
        matrix = sample.likelihood * counts[sample.span]
        expected = np.maximum(counts[self.brightness.view.min_frames :].sum(axis=0), 1e-9)
        number = np.where(np.isfinite(self.numbers), self.numbers, len(matrix) / len(expected) / expected)
        once, other = np.ones(len(matrix)), self.others
        for _ in range(30):
            fit, found, joined = expect(matrix, sample.others, once, number, other)
            number, other = number * found / expected, other * joined
        self.numbers, self.others, self.counts, self.expected = number, other, counts, expected
        return fit - float(expected @ number) - float(other.sum())

    def best(self, near_um: float) -> float:
        """Return the most likely width, um."""
        from scipy.optimize import minimize_scalar

        start = float(np.log(near_um))
        bounds = (max(start - FARTHEST, WIDTHS[0]), min(start + FARTHEST, WIDTHS[1]))
        found = minimize_scalar(lambda x: -self.at(x), bounds=bounds, method="bounded", options={"xatol": 0.01, "maxiter": 15})
        return float(np.exp(found.x))

    def interval(self, width_um: float) -> tuple[float, float]:
        """Return the widths at which the log-likelihood of all tracks has fallen by 1.92; how long one stays says nothing of the next."""
        below, above, top = (self.at(np.log(width_um) + step) for step in (-FIT_WIDTHS, FIT_WIDTHS, 0.0))
        drop = DROP_95 * self.sample.share
        away = [FIT_WIDTHS * np.sqrt(drop / max(top - there, 1e-9)) for there in (below, above)]
        return float(width_um * np.exp(-min(away[0], 5.0))), float(width_um * np.exp(min(away[1], 5.0)))

    def tracks_per_particle(self, width_um: float) -> float:
        """Return how many tracks a particle makes, on average over the tracks."""
        found = self.numbers * self.expected
        visitors = _depth(self.sample.size_nm, self.brightness, width_um).visitors_um()
        each = tracks_of_one(self.expected, visitors)
        return float(max(found.sum() / np.maximum(found @ (1 / each), 1e-300), 1.0))

    def lengths_chance(self, width_um: float) -> float:
        """Return how likely a chi-square of the tracks' lengths as large as theirs is; NaN where too few particles came to tell.

        Classes of lengths in which as many tracks are expected each; numbers scatter as if all tracks of a particle were of one class.
        """
        from scipy.special import chdtrc

        self.at(np.log(width_um))
        sample, least = self.sample, self.brightness.view.min_frames
        each = self.tracks_per_particle(width_um)
        mixed = (sample.likelihood * self.counts[sample.span]) @ self.numbers
        moving = mixed / np.maximum(mixed + sample.others @ self.others, 1e-300)
        expected = self.counts @ self.numbers
        expected[:least] = 0.0
        cumulative = np.cumsum(expected)
        n = int(min(MOST_CLASSES, cumulative[-1] / (EXPECTED * each)))
        if n <= FITTED + 1:
            return float("nan")
        edges = np.unique(np.searchsorted(cumulative, np.arange(1, n) / n * cumulative[-1]))
        observed = np.bincount(np.searchsorted(edges, sample.span), moving, minlength=len(edges) + 1)
        told = np.bincount(np.searchsorted(edges, np.arange(len(expected))), expected, minlength=len(edges) + 1)
        return float(chdtrc(len(told) - 1 - FITTED, np.sum((observed - told) ** 2 / (told * each))))


def _guess_width(sample: _Sample, brightness: Brightness) -> float:
    """Return the most likely of a few widths, a factor of two apart, um."""
    profile = _Profile(sample, brightness)
    return float(GUESSES_UM[int(np.argmax([profile.at(np.log(width)) for width in GUESSES_UM]))])


def _depth(size_nm: np.ndarray, brightness: Brightness, width_um: float) -> Depth:
    return Depth.of(brightness.view, width_um, brightness.constant / size_nm, brightness.log_peak(size_nm))


def _doubt(grid_nm: np.ndarray, brightness: Brightness, width_um: float, high_um: float) -> np.ndarray:
    """Return `Presence.doubt`: of four independent combinations of the brightness's parameters, and of the width."""
    some = np.unique(np.linspace(0, len(grid_nm) - 1, DOUBT_SIZES).round().astype(int))
    size = grid_nm[some]
    staying, least = brightness.view.staying(brightness.constant / size), brightness.view.min_frames

    def log_tracks(b: Brightness, width: float) -> np.ndarray:
        counts = _depth(size, b, width).expected(staying)
        return np.log(np.maximum(counts[least:].sum(axis=0), NOBODY))

    here = log_tracks(brightness, width_um)
    moved = [replace(brightness, parameter=brightness.parameter + step) for step in np.linalg.cholesky(brightness.covariance).T]
    found = [log_tracks(b, width_um) - here for b in moved]
    found.append(log_tracks(brightness, width_um * (high_um / width_um) ** (1 / 1.96)) - here)
    ln = np.log(grid_nm)
    return np.array([np.interp(ln, ln[some], np.clip(change, -MOST_DOUBT, MOST_DOUBT)) for change in found])


def _lengths(depth: Depth, longest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ln of the numbers of tracks of 0 to `longest` frames, (longest + 1, k), and those of sized tracks and their spots, (k,)."""
    counts, least = depth.expected(depth.view.staying(depth.diffusion_um2_s)), depth.view.min_frames
    length = np.arange(len(counts))[:, None]
    sized, spots = counts[least:].sum(axis=0), (length * counts)[least:].sum(axis=0)
    return np.log(np.maximum(counts[: longest + 1], 1e-300)), np.maximum(sized, 1e-300), np.maximum(spots, 1e-300)
