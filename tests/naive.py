"""Slow twins of the kernels, and the plainest possible videos, spots and tracks: what the fast code is compared with.

Nothing here is shared with `nta.kernels`: formulas are written out from the papers, matrices are dense, loops are Python's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.optimize import least_squares, linear_sum_assignment
from scipy.special import ndtr
from scipy.stats import lomax, norm, poisson
from scipy.stats import t as student

from nta.settings import Settings, Used
from nta.spots import Spots
from nta.tracks import Tracks
from nta.video import Calibration
from nta.view import View

BOLTZMANN = 1.380649e-23


def sphere_d_um2_s(diameter_nm: float, celsius: float = 25.0, viscosity_mpas: float = 0.8900) -> float:
    """Return Stokes-Einstein's D in um^2/s, all in SI units until the end."""
    return BOLTZMANN * (celsius + 273.15) / (3 * math.pi * viscosity_mpas * 1e-3 * diameter_nm * 1e-9) * 1e12


def step_covariance(frame: Any, variance_um2: Any, d: float, dt_s: float, exposure_s: float) -> np.ndarray:
    """Return the (n, n) covariance of the n displacements of a track along one axis (Berglund 2010, eqs. 5-6, with gaps)."""
    n = len(frame) - 1
    cov = np.zeros((n, n))
    for i in range(n):
        lapse = (frame[i + 1] - frame[i]) * dt_s
        cov[i, i] = 2 * d * lapse - 2 * d * exposure_s / 3 + variance_um2[i] + variance_um2[i + 1]
        if i + 1 < n:
            cov[i, i + 1] = cov[i + 1, i] = d * exposure_s / 3 - variance_um2[i + 1]
    return cov


def trap_covariance(frame: Any, variance_um2: Any, d: float, trap_um: float, dt_s: float, exposure_s: float) -> np.ndarray:
    """Return the (n, n) covariance of the positions seen of a particle in a harmonic trap, along one axis, about its centre.

    Means over exposures of an Ornstein-Uhlenbeck process: its covariance, integrated twice.
    """
    tau, n = trap_um**2 / d, len(frame)
    cov = np.diag(np.asarray(variance_um2, float))
    a = exposure_s / tau
    for i in range(n):
        for j in range(n):
            lag = abs(frame[i] - frame[j]) * dt_s
            if i == j:
                cov[i, j] += trap_um**2 * 2 * (a - 1 + math.exp(-a)) / a**2
            else:
                # exp(-|t - u| / tau) over two exposures
                cov[i, j] += trap_um**2 * math.exp(-lag / tau) * (math.exp(a) - 2 + math.exp(-a)) / a**2
    return cov


def steps_loglik(x: np.ndarray, y: np.ndarray, cov: np.ndarray) -> float:
    """Return the log-density of the n - 1 steps between n positions whose covariance is `cov`, or of steps whose covariance it is."""
    dx, dy = np.diff(x), np.diff(y)
    if len(cov) == len(x):
        difference = np.diff(np.eye(len(x)), axis=0)
        cov = difference @ cov @ difference.T
    squares = float(dx @ np.linalg.solve(cov, dx) + dy @ np.linalg.solve(cov, dy))
    return -len(dx) * math.log(2 * math.pi) - float(np.linalg.slogdet(cov)[1]) - 0.5 * squares


def trapped_um(
    rng: np.random.Generator, n_tracks: int, n_frames: int, d: float, trap_um: float, dt_s: float, exposure_s: float, sigma_um: float
) -> np.ndarray:
    """Return measured positions of particles in harmonic traps, (n_tracks, n_frames, 2) um: drawn from their covariance."""
    cov = trap_covariance(np.arange(n_frames), np.full(n_frames, sigma_um**2), d, trap_um, dt_s, exposure_s)
    return np.einsum("ij,njk->nik", np.linalg.cholesky(cov), rng.normal(size=(n_tracks, n_frames, 2)))


def track_loglik(
    x_um: np.ndarray,
    y_um: np.ndarray,
    frame: np.ndarray,
    variance_um2: np.ndarray,
    start: np.ndarray,
    diffusion_um2_s: np.ndarray,
    dt_s: float,
    exposure_s: float,
    gate_um: np.ndarray,
    wrong_share: float = 0.0,
) -> np.ndarray:
    """Return what `nta.kernels.likelihood.track_loglik` writes: dense normals, the whole track or cut in two at one wrong link."""
    out = np.empty((len(start) - 1, len(diffusion_um2_s)))
    for i in range(len(start) - 1):
        first, last = start[i], start[i + 1]
        n = last - first - 1
        for k, d in enumerate(diffusion_um2_s):

            def piece(a: int, b: int, d: float = d) -> float:
                rows = slice(a, b)
                return _normal(x_um[rows], y_um[rows], frame[rows], variance_um2[rows], d, dt_s, exposure_s, gate_um)

            terms = [piece(first, last) + n * math.log(1 - wrong_share)]
            if wrong_share > 0:
                for cut in range(first + 1, last):
                    anywhere = wrong_share / (math.pi * _gate(frame[cut] - frame[cut - 1], gate_um) ** 2) * (1 - wrong_share) ** (n - 1)
                    terms.append(piece(first, cut) + math.log(anywhere) + piece(cut, last))
            out[i, k] = np.logaddexp.reduce(terms)
    return out


def _gate(lapse: int, gate_um: np.ndarray) -> float:
    """Return the longest step over a number of frames."""
    return float(gate_um[lapse - 1] if lapse <= len(gate_um) else gate_um[-1])


def _normal(
    x: np.ndarray, y: np.ndarray, frame: np.ndarray, variance: np.ndarray, d: float, dt_s: float, exposure_s: float, gate_um: np.ndarray
) -> float:
    """Return the log-likelihood of all steps of one track: a multivariate normal with a dense matrix, less the chance of each gate."""
    dx, dy = np.diff(x), np.diff(y)
    if not len(dx):
        return 0.0
    cov = step_covariance(frame, variance, d, dt_s, exposure_s)
    total = -len(dx) * math.log(2 * math.pi) - float(np.linalg.slogdet(cov)[1])
    total -= 0.5 * float(dx @ np.linalg.solve(cov, dx) + dy @ np.linalg.solve(cov, dy))
    for v, lapse in zip(np.diag(cov), np.diff(frame), strict=True):
        # a two-dimensional Gaussian lies within r with probability 1 - exp(-r^2 / 2v)
        total -= math.log(-math.expm1(-(_gate(lapse, gate_um) ** 2) / (2 * v)))
    return total


def dst_eigenvalues(n_steps: int, d: float, dt_s: float, exposure_s: float, sigma_um: float) -> np.ndarray:
    """Return the eigenvalues of the covariance of a gapless track with one localisation error (METHODS 1)."""
    t = np.arange(1, n_steps + 1) * math.pi / (n_steps + 1)
    r = exposure_s / (6 * dt_s)
    return np.asarray(2 * d * dt_s * (1 - 2 * r * (1 - np.cos(t))) + 2 * sigma_um**2 * (1 - np.cos(t)))


def add_gaussians(image: np.ndarray, x_px: np.ndarray, y_px: np.ndarray, sigma_px: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Return what `nta.kernels.render.add_gaussians` makes of `image`: every pixel asked in turn."""
    drawn = np.array(image)
    for x, y, s, p in zip(x_px, y_px, sigma_px, peak, strict=True):
        for row in range(drawn.shape[0]):
            for column in range(drawn.shape[1]):
                if abs(column - x) <= 4.5 * s and abs(row - y) <= 4.5 * s:
                    drawn[row, column] += p * math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * s * s))
    return drawn


def splitmix64(counter: int) -> int:
    """Return the number that SplitMix64 makes of its state (Steele, Lea & Flood 2014)."""
    z = counter % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


class Bits:
    """SplitMix64 from a key on: numbers in turn."""

    def __init__(self, key: int) -> None:
        self.counter = key

    def bits(self) -> int:
        self.counter = (self.counter + 0x9E3779B97F4A7C15) % 2**64
        return splitmix64(self.counter)

    def uniform(self) -> float:
        return ((self.bits() >> 12) + 0.5) / 2**52


def count_electrons(light: np.ndarray, electrons_per_grey: float, key: int, table_end: float) -> np.ndarray:
    """Return what `nta.kernels.camera.count_electrons` draws: quantiles of Poisson distributions, or Hormann's PTRS."""
    random, counts = Bits(key), np.empty(light.shape)
    for r, row in enumerate(light * electrons_per_grey):
        first, second = ([random.uniform() for _ in row] for _ in range(2))
        for c, mean in enumerate(row):
            if mean >= table_end:
                counts[r, c] = _hormann(mean, random)
                continue
            coarse, fine = math.floor(mean / 16) * 16.0, math.floor(mean % 16 * 16) / 16
            parts = [(fine, first[c]), (coarse, random.uniform() if coarse else 0.5), (mean - coarse - fine, second[c])]
            counts[r, c] = sum(poisson.ppf(u, m) if m > 0 else 0 for m, u in parts)
    return counts


def _hormann(mean: float, random: Bits) -> float:
    """Return a Poisson number by transformed rejection with squeeze (Hormann 1993, PTRS, steps 1 to 3.1)."""
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    alpha, v_r = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    while True:
        u = random.uniform() - 0.5
        v = random.uniform()
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= v_r:
            return k
        if k >= 0 and not (us < 0.013 and v > us) and math.log(v * alpha / (a / us**2 + b)) <= poisson.logpmf(k, mean):
            return k


def read_out(electrons: np.ndarray, electrons_per_grey: float, noise: float, offset: np.ndarray, ceiling: float, key: int) -> np.ndarray:
    """Return what `nta.kernels.camera.read_out` writes, with a ziggurat of 128 strips of its own."""
    end, area = 3.442619855899, 9.91256303526217e-3
    f = norm.pdf
    scale = f(0)
    strips = [area * scale / f(end), end]
    while len(strips) < 128:
        height = f(strips[-1]) / scale + area / strips[-1]
        strips.append(math.sqrt(-2 * math.log(height)))
    strips.append(0.0)
    random, grey = Bits(key), np.empty(electrons.shape)
    for at in np.ndindex(electrons.shape):
        x = None
        while x is None:
            z = random.bits()
            i, signed = z % 128, z - 2**64 if z >= 2**63 else z
            x = (math.floor(signed / 2**11) + 0.5) / 2**52 * strips[i]
            if abs(x) < strips[i + 1]:
                break
            if i == 0:
                x = math.copysign(_normal_tail(end, random), x)
                break
            between = f(strips[i]) + random.uniform() * (f(strips[i + 1]) - f(strips[i]))
            x = x if between < f(x) else None
        grey[at] = min(max(math.floor(electrons[at] / electrons_per_grey + noise * x + offset[at] + 0.5), 0), ceiling)
    return grey


def _normal_tail(end: float, random: Bits) -> float:
    while True:
        x = -math.log(random.uniform()) / end
        if -2 * math.log(random.uniform()) > x * x:
            return end + x


def brownian_um(
    rng: np.random.Generator, n_tracks: int, n_frames: int, d_um2_s: float | np.ndarray, dt_s: float, exposure_s: float, sigma_um: float
) -> np.ndarray:
    """Return measured positions, (n_tracks, n_frames, 2) um: Brownian paths averaged exactly over the exposure, plus localisation error.

    A path's end and its mean over a time t are jointly normal with covariance ``2 D t [[1, 1/2], [1/2, 1/3]]``; no sub-steps needed.
    """
    d = np.broadcast_to(np.asarray(d_um2_s, float), (n_tracks,))[:, None]
    at = np.zeros((n_tracks, 2))
    seen = np.empty((n_tracks, n_frames, 2))
    for f in range(n_frames):
        u, v = rng.normal(size=(2, n_tracks, 2))
        moved = np.sqrt(2 * d * exposure_s) * u
        seen[:, f] = at + 0.5 * moved + np.sqrt(2 * d * exposure_s / 12) * v
        at = at + moved + np.sqrt(2 * d * (dt_s - exposure_s)) * rng.normal(size=(n_tracks, 2))
    return seen + sigma_um * rng.normal(size=seen.shape)


def stay_probability(side_um: float, d_um2_s: float, dt_s: float, flow_um_s: float, n_frames: int, cells: int = 600) -> np.ndarray:
    """Return the chance that a particle, anywhere in an interval, is in it in 1, 2 ... `n_frames` successive frames.

    Frames are moments; between them it may be outside. The density on cells is carried from frame to frame by the Gaussian kernel,
    integrated over each cell.
    """
    edge = np.linspace(0, side_um, cells + 1)
    centre, sd = (edge[1:] + edge[:-1]) / 2, math.sqrt(2 * d_um2_s * dt_s)
    kernel = np.diff(ndtr((edge[None] - centre[:, None] - flow_um_s * dt_s) / sd), axis=1)
    density = np.full(cells, 1 / cells)
    stay = [1.0]
    for _ in range(n_frames - 1):
        density = density @ kernel
        stay.append(float(density.sum()))
    return np.array(stay)


def runs_in_view(stay: np.ndarray) -> np.ndarray:
    """Return the expected number of runs of 1, 2 ... n frames in view, in a film of n frames, per particle in view.

    `stay` is the chance to stay 1, 2 ... n frames of who is there. Runs begun and ended inside the film, cut at one end, and at both.
    """
    n = len(stay)
    s = np.append(stay, [0.0, 0.0])
    expected = np.array([(n - k - 1) * (s[k - 1] - 2 * s[k] + s[k + 1]) + 2 * (s[k - 1] - s[k]) for k in range(1, n)])
    return np.append(expected, stay[-1])


def calibration(
    pixel_size_um: float = 0.166, fps: float = 25.0, exposure_ms: float | None = 15.0, temperature_c: float = 25.0
) -> Calibration:
    """Return a calibration with the standard uncertainties of given values."""
    return Calibration(
        Used(pixel_size_um, "option", 0.005 * pixel_size_um),
        Used(fps, "option", 0.0),
        None if exposure_ms is None else Used(exposure_ms * 1e-3, "option", 0.02 * exposure_ms * 1e-3),
        Used(temperature_c, "option", 0.3),
    )


class ArrayVideo:
    """Frames in memory, as much of a `nta.video.Video` as the search for spots asks for."""

    def __init__(self, frames: np.ndarray, ceiling: float | None = None) -> None:
        self.frames, self.ceiling = frames, ceiling
        self.n_frames, self.height, self.width = frames.shape
        self.dtype, self.frame_dtype = str(frames.dtype), frames.dtype

    def read(self, i: int) -> np.ndarray:
        return self.frames[i]


def make_spots(
    frame: Any, x_px: Any, y_px: Any, *, n_frames: int | None = None, sd_px: float = 0.1, area_px: float = 640.0 * 480.0, **columns: Any
) -> Spots:
    """Return spots at given places, ordered by frame; `columns` replaces any of the others."""
    frame = np.asarray(frame, np.int32)
    order = np.argsort(frame, kind="stable")
    n = len(frame)
    n_frames = n_frames if n_frames is not None else int(frame.max(initial=-1)) + 1
    rows: dict[str, Any] = {
        "frame": frame,
        "x_px": np.asarray(x_px, float),
        "y_px": np.asarray(y_px, float),
        "x_sd_px": np.full(n, sd_px),
        "y_sd_px": np.full(n, sd_px),
        "signal": np.full(n, 50.0),
        "snr": np.full(n, 20.0),
        "width_px": np.full(n, 1.5),
        "flags": np.zeros(n, np.uint32),
    } | {name: np.broadcast_to(value, (n,)) for name, value in columns.items()}
    ordered: dict[str, Any] = {name: np.ascontiguousarray(value[order]) for name, value in rows.items()}
    return Spots(
        **ordered,
        background=np.full(n_frames, 12.0),
        noise=np.full(n_frames, 1.5),
        area_px=area_px,
        chosen={"spot_width_px": Used(1.5, "measured"), "threshold_snr": Used(5.0, "measured"), "polarity": Used("bright", "measured")},
    )


def make_tracks(
    paths: Sequence[tuple[Any, Any, Any]],
    *,
    n_frames: int,
    settings: Settings | None = None,
    gate_px: float = 1e3,
    gap: int = 0,
    **columns: Any,
) -> Tracks:
    """Return the tracks of ``(frame, x_px, y_px)`` paths, true links and all; `columns` as in `make_spots`, one value or one a spot."""
    frame, x, y = (np.concatenate([np.asarray(p[i], float) for p in paths]) if paths else np.empty(0) for i in range(3))
    spots = make_spots(np.zeros(len(frame)), x, y, n_frames=n_frames, **columns)
    spots.frame[:] = frame  # rows stay in the order of the tracks
    count = np.array([len(p[0]) for p in paths], np.int64)
    from nta.flags import Flag

    least = (settings or Settings()).tracks.min_frames
    flags = np.where(count == 1, int(Flag.UNLINKED), np.where(count < least, int(Flag.TOO_SHORT), 0)).astype(np.uint32)
    chosen = {"search_range_px": Used(gate_px, "measured"), "gap_frames": Used(gap, "measured"), "min_frames": Used(least, "default")}
    start = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return Tracks(spots, start, flags, np.ones(len(spots)), gate_px * np.sqrt(np.arange(1, gap + 2)), chosen)


def brownian_tracks(
    rng: np.random.Generator,
    n_tracks: int,
    n_frames: int,
    d_um2_s: float | np.ndarray,
    *,
    pixel_um: float = 0.166,
    dt_s: float = 0.04,
    exposure_s: float = 0.015,
    sigma_um: float = 0.04,
    sd_px: float | None = None,
    **columns: Any,
) -> Tracks:
    """Return gapless tracks of `n_frames` spots each, of particles that diffuse at `d_um2_s`; their spots' own errors tell the truth."""
    at = brownian_um(rng, n_tracks, n_frames, d_um2_s, dt_s, exposure_s, sigma_um) / pixel_um
    at += 1000.0 * np.arange(n_tracks)[:, None, None]  # nobody meets anybody
    frame = np.arange(n_frames)
    paths = [(frame, at[i, :, 0], at[i, :, 1]) for i in range(n_tracks)]
    columns = {"gate_px": 60.0, "sd_px": sigma_um / pixel_um if sd_px is None else sd_px, **columns}
    return make_tracks(paths, n_frames=n_frames, **columns)


def expected_spans(
    d_um2_s: float, log_peak: float, threshold: float, width_um: float, miss: float, dt_s: float, n_frames: int, gap: int, cells: int
) -> np.ndarray:
    """Return (n_frames + 1,) what `nta.depth.Depth.expected` tells of one size: densities over cells of depth that go on frame by frame."""
    sd = math.sqrt(2 * d_um2_s * dt_s)
    cell = (width_um * math.sqrt(2 * (log_peak + 0.45)) + 3 * sd) / cells
    z = (np.arange(cells) + 0.5) * cell
    seen = (1 - miss) * ndtr(threshold * (np.exp(log_peak - 0.5 * (z / width_um) ** 2) - 1))
    away, mirrored = z - z[:, None], z + z[:, None]
    move = sum(ndtr((at + cell / 2) / sd) - ndtr((at - cell / 2) / sd) for at in (away, mirrored))
    soon = move @ seen
    half_gone = 1 - soon
    gone = half_gone - gap * (move @ ((1 - seen) * soon))
    counts = np.zeros(n_frames + 1)
    # what is asked of the frames beside a track: of none, of one, of two or more
    chance = {0: np.ones(cells), 1: half_gone, 2: gone if gap else half_gone}
    for before in range(n_frames):
        here, missed = 2 * cell * seen * chance[min(before, 2)], np.zeros(cells)
        for n in range(1, n_frames - before + 1):
            counts[n] += here @ chance[min(n_frames - before - n, 2)]
            here, missed = seen * ((here + missed) @ move), gap * (1 - seen) * (here @ move)
    return counts


def make_view(**changes: Any) -> View:
    """Return how a video sees particles that never leave its field, spots without light's own noise, unless `changes` say otherwise."""
    plain: dict[str, Any] = {
        "threshold_snr": 5.0,
        "light": 0.0,
        "spot_um": 0.25,
        "dt_s": 0.04,
        "exposure_s": 0.0,
        "n_frames": 50,
        "gap_frames": 0,
        "min_frames": 5,
        "missed_share": 0.0,
        "broken_share": 0.0,
        "field_um": (1e12, 1e12),
        "flow_um_s": (0.0, 0.0),
    }
    return View(**(plain | changes))


def best_choice(gain: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the largest total of a matrix's entries, at most one in a row and a column, and the column of each row (-1 for none)."""
    rows, columns = gain.shape
    padded = np.hstack([np.maximum(gain, 0.0), np.zeros((rows, rows))])
    i, j = linear_sum_assignment(padded, maximize=True)
    chosen = np.where((j < columns) & (gain[i, np.minimum(j, columns - 1)] > 0), j, -1)
    return float(padded[i, j].sum()), chosen


def choice_chances(gain: np.ndarray) -> np.ndarray:
    """Return the chance of each entry, where a choice of at most one in a row and a column is as likely as the exponential of its total."""
    rows, columns = gain.shape
    weight = np.zeros(gain.shape)
    total = 0.0
    for choice in itertools.product(range(-1, columns), repeat=rows):
        taken = [c for c in choice if c >= 0]
        if len(set(taken)) == len(taken):
            likely = math.exp(sum(gain[r, c] for r, c in enumerate(choice) if c >= 0))
            total += likely
            for r, c in enumerate(choice):
                if c >= 0:
                    weight[r, c] += likely
    return weight / total


def link(
    x_px: np.ndarray,
    y_px: np.ndarray,
    variance_px2: np.ndarray,
    brightness: np.ndarray,
    prior_px2: np.ndarray,
    log_odds: np.ndarray,
    log_new: np.ndarray,
    frame: np.ndarray,
    gate_px: np.ndarray,
    prior_steps: float,
    follow: float,
    tail: float,
    noise_share: float,
) -> np.ndarray:
    """Return the spot before each one, -1 for none, as `nta.kernels.link.link` finds it: every track against every spot, dense matrices."""
    before = np.full(len(x_px), -1)
    tracks: list[dict[str, Any]] = []
    for f in np.unique(frame):
        here = np.flatnonzero(frame == f)
        open_ = [track for track in tracks if f - frame[track["last"]] <= len(log_odds)]
        gain = np.full((max(len(open_), 1), len(here)), -np.inf)
        ratio = np.ones(gain.shape)
        for r, track in enumerate(open_):
            i, lapse = track["last"], f - frame[track["last"]]
            mean = track["total"] / track["steps"]
            motion = max(mean - track["noise"] / track["steps"], noise_share * mean)
            for c, j in enumerate(here):
                square = (x_px[j] - x_px[i]) ** 2 + (y_px[j] - y_px[i]) ** 2
                if square >= gate_px[lapse - 1] ** 2:
                    continue
                ratio[r, c] = (motion * lapse + 2 * (variance_px2[i] + variance_px2[j])) / mean
                step = lomax.pdf(square, track["steps"], scale=ratio[r, c] * track["total"]) / math.pi
                change = student.pdf(brightness[j] - track["level"], tail, scale=math.sqrt(lapse))
                gain[r, c] = log_odds[lapse - 1, i] + math.log(step * change) - log_new[j]
        chosen = best_choice(gain)[1] if open_ else np.full(1, -1)
        owner = {here[c]: r for r, c in enumerate(chosen) if c >= 0}
        for c, j in enumerate(here):
            if j in owner:
                track, i = open_[owner[j]], open_[owner[j]]["last"]
                before[j] = i
                track["total"] += ((x_px[j] - x_px[i]) ** 2 + (y_px[j] - y_px[i]) ** 2) / ratio[owner[j], c]
                track["noise"] += 2 * (variance_px2[i] + variance_px2[j])
                track["level"] += follow * (brightness[j] - track["level"])
                track["steps"] += 1
                track["last"] = j
            else:
                noise = min(prior_steps * 4 * variance_px2[j], prior_px2[j])
                tracks.append({"last": j, "total": prior_px2[j], "steps": prior_steps, "noise": noise, "level": brightness[j]})
    return before


def sum_steps(
    x_px: np.ndarray, y_px: np.ndarray, number: np.ndarray, frame: np.ndarray, start: np.ndarray, fewest: int, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what `nta.kernels.tracks.sum_steps` writes of `n` frames: every step a record of its own."""
    tracks = []
    for a, b in itertools.pairwise(start):
        rows = [j for j in range(a + 1, b) if number[j] == number[j - 1] + 1]
        if len(rows) > fewest:
            steps = {j: np.array([x_px[j] - x_px[j - 1], y_px[j] - y_px[j - 1]]) / math.sqrt(frame[j] - frame[j - 1]) for j in rows}
            tracks.append(steps)
    owns, weights = tracks, [1.0] * len(tracks)
    for _ in range(3):
        owns = []
        for track, own_weight in zip(tracks, weights, strict=True):
            own = {}
            for j, step in track.items():
                here = [(w, t[k]) for t, w in zip(tracks, weights, strict=True) for k in t if number[k] == number[j]]
                whole = sum(w for w, _ in here)
                own[j] = (step - sum(w * s for w, s in here) / whole) / math.sqrt(max(1 - own_weight / whole, 0.1))
            owns.append(own)
        weights = [len(own) / sum(s @ s for s in own.values()) for own in owns]
    links, excess, lasted, alike = np.zeros(n, int), np.zeros(n), np.zeros(n), np.zeros(2)
    for own, weight in zip(owns, weights, strict=True):
        others, total = len(own) - 1, sum(s @ s for s in own.values())
        for j, step in own.items():
            ratio = step @ step / (total - step @ step)
            links[number[j]] += 1
            excess[number[j]] += others * math.log(1 + ratio)
            lasted[number[j]] += (others - 1) * ratio
            for apart in (2, 3):
                if all(j - k in own for k in range(apart + 1)):
                    alike += [step @ own[j - apart] * weight, 1]
    return links, excess, lasted, alike


def crowd(
    rng: np.random.Generator,
    n: int,
    n_frames: int,
    side_px: float,
    *,
    step_px: Any = (0.8, 4.0),
    flow_px: Any = (0.0, 0.0),
    missed: float = 0.05,
    false_spots: float = 0.2,
    depth: float = 3.0,
) -> tuple[Spots, np.ndarray]:
    """Return spots of `n` particles in a light sheet that drift through a periodic square, and the particle of each.

    Steps lie evenly in ln between two ends, depth in units of the sheet's SD is periodic at ``+- depth``, steps along it are a twentieth
    of the others. The slower are the brighter. A false spot is a particle of its own.
    """
    step = np.exp(rng.uniform(*np.log(step_px), n))
    peak = 30.0 * (np.sqrt(np.prod(step_px)) / step) ** 0.5
    at, z, turns = rng.uniform(0, side_px, (n, 2)), rng.uniform(-depth, depth, n), np.zeros((n, 3), np.int64)
    rows: list[np.ndarray] = []
    for f in range(n_frames):
        snr = peak * np.exp(-(z**2) / 2) * np.exp(0.05 * rng.normal(size=n)) + rng.normal(size=n)
        k = np.flatnonzero((snr > 5) & (rng.random(n) >= missed))
        seen = at[k] + 2.0 / snr[k, None] * rng.normal(size=(len(k), 2))
        name = ((k * 1000 + turns[k, 0]) * 1000 + turns[k, 1]) * 1000 + turns[k, 2]
        rows.append(np.column_stack([np.full(len(k), f), seen, snr[k], name]))
        m = rng.poisson(false_spots)
        strange = -1.0 - np.arange(m) - 1000 * f
        rows.append(np.column_stack([np.full(m, f), rng.uniform(0, side_px, (m, 2)), 5 + rng.exponential(0.3, m), strange]))
        at = at + step[:, None] * rng.normal(size=(n, 2)) + flow_px
        z = z + 0.05 * step * rng.normal(size=n)
        turns += np.column_stack([np.floor(at / side_px), np.floor((z + depth) / (2 * depth))]).astype(np.int64)
        at, z = at % side_px, (z + depth) % (2 * depth) - depth
    table = np.concatenate(rows)
    table = table[rng.permutation(len(table))]
    table = table[np.argsort(table[:, 0], kind="stable")]
    sd = 2.0 / table[:, 3]
    spots = make_spots(
        table[:, 0], table[:, 1], table[:, 2], n_frames=n_frames, snr=table[:, 3], x_sd_px=sd, y_sd_px=sd, area_px=side_px * side_px
    )
    return spots, np.unique(table[:, 4], return_inverse=True)[1]


def linked_pairs(frame: np.ndarray, particle: np.ndarray) -> set[tuple[int, int]]:
    """Return the row numbers of each two spots that follow each other in a track."""
    order = np.lexsort((frame, particle))
    same = np.diff(particle[order]) == 0
    return set(zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True))


# --- spots ---


def matched_filter(frame: np.ndarray, still: np.ndarray, sign: int, width_px: float, step: int) -> np.ndarray:
    """Return a frame less its still image through a Gaussian of an odd number of px to a side, 3 at least, that holds 2.3 widths."""
    reach = max(3, math.ceil(2.3 * width_px - 0.5))
    reach += 1 - reach % 2
    return ndimage.gaussian_filter(sign * (frame.astype(float) - still), width_px, mode="reflect", radius=reach)[::step, ::step]


def bilinear(tiles: np.ndarray, row_mid: np.ndarray, col_mid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return values between the centres of tiles, constant beyond the outermost: every point asked in turn."""

    def between(at: float, mid: np.ndarray) -> list[tuple[int, float]]:
        if at <= mid[0] or len(mid) == 1:
            return [(0, 1.0)]
        if at >= mid[-1]:
            return [(len(mid) - 1, 1.0)]
        i = max(k for k in range(len(mid)) if mid[k] <= at)
        share = (at - mid[i]) / (mid[i + 1] - mid[i])
        return [(i, 1 - share), (i + 1, share)]

    return np.array(
        [
            [sum(p * q * tiles[i, j] for i, p in between(r, row_mid) for j, q in between(c, col_mid)) for c in range(shape[1])]
            for r in range(shape[0])
        ]
    )


def find_maxima(
    image: np.ndarray, level: np.ndarray, sd: np.ndarray, threshold: float, step: int, rim: int, between: float, guessed: float
) -> np.ndarray:
    """Return (n, 5) x, y, height over the level, level and noise of the maxima of an image, as `nta.kernels.maxima.find_maxima` tells them.

    `level` and `sd` are of its own shape. Of neighbours that are equal the one that is read first counts. `between` and `guessed` are the
    shares of the threshold that the point and the parabola through its neighbours must reach.
    """
    rows = []
    for r in range(rim, image.shape[0] - rim):
        for c in range(rim, image.shape[1] - rim):
            v = float(image[r, c])
            before = [image[r - 1, c - 1], image[r - 1, c], image[r - 1, c + 1], image[r, c - 1]]
            after = [image[r, c + 1], image[r + 1, c - 1], image[r + 1, c], image[r + 1, c + 1]]
            if max(before) >= v or max(after) > v:
                continue
            shift, rise = [], 0.0
            for a, b in ((float(image[r, c - 1]), float(image[r, c + 1])), (float(image[r - 1, c]), float(image[r + 1, c]))):
                # a parabola through -1, 0 and 1: its top lies at -slope / bend, slope^2 / (2 bend) higher
                slope, bend = (b - a) / 2, a + b - 2 * v
                shift.append(-slope / bend if bend else 0.0)
                rise -= slope * slope / (2 * bend) if bend else 0.0
            height = v - level[r, c]
            if height > between * threshold * sd[r, c] and height + rise > guessed * threshold * sd[r, c]:
                rows.append([step * (c + shift[0]), step * (r + shift[1]), height + rise, level[r, c], sd[r, c]])
    return np.array(sorted(rows, key=lambda row: -row[2])).reshape(-1, 5)


def gaussian(x: float, y: float, width_px: float, shape: tuple[int, int], *, longer: float = 0.0, along: float = 0.0) -> np.ndarray:
    """Return a Gaussian of peak 1, `longer` by that share along a direction (rad) and shorter across it."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    a = (column - x) * math.cos(along) + (row - y) * math.sin(along)
    b = (row - y) * math.cos(along) - (column - x) * math.sin(along)
    return np.asarray(np.exp(-0.5 * (a / (width_px * (1 + longer))) ** 2 - 0.5 * (b / (width_px * (1 - longer))) ** 2))


def _model(theta: np.ndarray, side: int) -> np.ndarray:
    """Return the window of a spot of peak, x, y and ln width."""
    return theta[0] * gaussian(theta[1], theta[2], math.exp(theta[3]), (side, side))


def information(theta: np.ndarray, base: np.ndarray, light: float = 0.0, misfit2: float = 0.0) -> np.ndarray:
    """Return the (4, 4) Fisher information on peak, x, y and ln width, the model's slopes by differences."""
    side = len(base)
    slope = [(_model(theta + h, side) - _model(theta - h, side)) / 2e-5 for h in 1e-5 * np.eye(4)]
    m = _model(theta, side)
    variance = base + light * m + misfit2 * m * m
    return np.array([[np.sum(a * b / variance) for b in slope] for a in slope])


def score(theta: np.ndarray, value: np.ndarray, base: np.ndarray, light: float = 0.0, misfit2: float = 0.0) -> np.ndarray:
    """Return the slope of the Gaussian log-likelihood in peak, x, y and ln width, by differences, the variance held where it is."""
    m = _model(theta, len(base))
    variance = base + light * m + misfit2 * m * m

    def loglik(at: np.ndarray) -> float:
        return float(-0.5 * np.sum((value - _model(at, len(base))) ** 2 / variance))

    return np.array([(loglik(theta + h) - loglik(theta - h)) / 2e-5 for h in 1e-5 * np.eye(4)])


def fit_spot(
    value: np.ndarray, base: np.ndarray, guess: np.ndarray, light: float, misfit2: float, log_filter: float, prior: float
) -> np.ndarray:
    """Return peak, x, y and ln width by least squares, weights by the model of the last round, until nothing changes."""
    theta, side = np.array(guess, float), len(value)
    for _ in range(60):
        m = _model(theta, side)
        sd = np.sqrt(base + light * m + misfit2 * m * m)

        def off(at: np.ndarray, sd: np.ndarray = sd) -> np.ndarray:
            return np.append(((value - _model(at, side)) / sd).ravel(), math.sqrt(prior) * (at[3] - log_filter))

        last, theta = theta, least_squares(off, theta, x_scale=[max(abs(theta[0]), 1e-6), 1.0, 1.0, 1.0], xtol=1e-12, ftol=1e-12).x
        if (light == misfit2 == 0) or np.abs(theta - last).max() < 1e-8:
            break
    return theta


def middle(values: np.ndarray) -> tuple[float, float]:
    """Return the mean of the middle half of some numbers, and the SD of a Gaussian that deviates as much from its median there."""
    ordered = sorted(float(v) for v in values)
    inner = np.array(ordered[len(ordered) // 4 : len(ordered) - len(ordered) // 4])
    # E|z| within the middle share m: 2 (phi(0) - phi(q)) / m
    share = len(inner) / len(ordered)
    deviation = 2 * (norm.pdf(0) - norm.pdf(norm.ppf((1 + share) / 2))) / share
    return float(inner.mean()), float(np.mean(np.abs(inner - np.median(ordered))) / deviation)
