"""Tracks, Diffusion -> Presence: how many tracks, and how long, a particle of each size makes while it drifts through the light.

Small particles leave the light sooner and make more and shorter tracks; bright ones are seen deeper. Dividing by what one particle per
micrometre of depth would make turns tracks into numbers of particles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nta.blocks import expect, mix
from nta.diffusion import Diffusion
from nta.settings import Used
from nta.tracks import Tracks

DEPTH_CELLS = 48
FIT_SIZES = 24
SHORTEST_LOG_SNR = 0.15  # a size seen at all is seen somewhat above the threshold


@dataclass(frozen=True)
class Presence:
    """Expected tracks of each size, for one particle per um of depth in the whole video.

    Attributes
    ----------
    log_tracks : (n + 1, k) float64, ln of the expected number of tracks that span 0 to n frames, n being the longest there is
    tracks : (k,) float64, expected number of tracks of at least `min_frames`
    depth_um : (k,) float64, full depth in which a particle of each size is seen
    visitors_um : (k,) float64, different particles that come through in the whole video, per particle per um of depth
    """

    log_tracks: np.ndarray
    tracks: np.ndarray
    depth_um: np.ndarray
    visitors_um: np.ndarray
    chosen: Mapping[str, Used] = field(default_factory=dict)


def find_presence(tracks: Tracks, diffusion: Diffusion, dt_s: float, min_frames: int) -> Presence:
    """Fit the scale of the depth and the share of frames in which a visible particle is missed to the tracks' lengths.

    The shape of the depth over size comes from the light: in a sheet of Gaussian profile of SD w a particle of peak signal-to-noise q
    above the threshold is seen to ``w sqrt(2 ln q)``, and the mean of ``ln(SNR / threshold)`` of its detections is ``2/3 ln q``.
    """
    n_frames = tracks.spots.n_frames
    threshold, gap = tracks.spots.chosen["threshold_snr"].value, tracks.chosen["gap_frames"].value
    log_peak = 1.5 * _log_snr(tracks, diffusion)
    span = span_frames(tracks)[diffusion.track]
    # the fit looks at a coarse grid of sizes; only two numbers are sought
    coarse = np.unique(np.linspace(0, len(diffusion.grid_nm) - 1, FIT_SIZES).round().astype(int))
    likelihood = np.exp(diffusion.loglik[:, coarse].astype(float))

    coefficients = diffusion.grid_um2_s

    def width_and_miss(p: np.ndarray) -> tuple[float, float]:
        return float(np.exp(p[0])), float(1 / (1 + np.exp(-p[1])))

    def cost(p: np.ndarray) -> float:
        counts = _expected(coefficients[coarse], log_peak[coarse], threshold, *width_and_miss(p), dt_s, n_frames, gap)
        prior = 0.5 * ((p[1] + 4) / 1.5) ** 2
        return prior - _profiled(likelihood * counts[span], counts[min_frames:].sum(axis=0))

    from scipy.optimize import minimize

    start = np.array([np.log(4.0), -4.0])
    fit = minimize(cost, start, method="Nelder-Mead", options={"maxfev": 60, "xatol": 0.02, "fatol": 0.1})
    width, miss = width_and_miss(fit.x)
    counts = _expected(coefficients, log_peak, threshold, width, miss, dt_s, n_frames, gap)
    depth = 2 * width * np.sqrt(2 * log_peak)
    return Presence(
        np.log(np.maximum(counts[: span.max() + 1], 1e-300)),
        counts[min_frames:].sum(axis=0),
        depth,
        # particles that cross an interval in a time T: its length and, on both sides, the mean largest excursion sqrt(4 D T / pi)
        depth + 2 * np.sqrt(4 * coefficients * n_frames * dt_s / np.pi),
        {"sheet_sd_um": Used(round(width, 3), "measured"), "missed_share": Used(round(miss, 4), "measured")},
    )


def span_frames(tracks: Tracks) -> np.ndarray:
    """Return (n_tracks,) frames from the first to the last spot of each track, both counted."""
    frame = tracks.spots.frame
    return (frame[tracks.start[1:] - 1] - frame[tracks.start[:-1]] + 1).astype(np.int64)


def _log_snr(tracks: Tracks, diffusion: Diffusion) -> np.ndarray:
    """Return (k,) the mean of ln(SNR / threshold) of the detections of each size, a quadratic in ln d.

    Regressed on the posterior means of ln d and its square, since a track's size is uncertain (regression calibration); a weak prior
    keeps the slope where all particles are of one size.
    """
    log_ratio = np.log(tracks.spots.snr / tracks.spots.chosen["threshold_snr"].value)
    per_track = np.add.reduceat(log_ratio, tracks.start[:-1])[diffusion.track]
    n = tracks.n_spots[diffusion.track].astype(float)
    ln_d = np.log(diffusion.grid_nm)
    likelihood = np.exp(diffusion.loglik)
    none, once = np.empty((len(likelihood), 0)), np.ones(len(likelihood))
    weight = np.full(len(ln_d), 1 / len(ln_d))
    for _ in range(60):
        weight = weight * expect(likelihood, none, once, weight, none[0])[1] / len(likelihood)
    centre = float(np.sum(weight * ln_d))
    mixed = mix(likelihood, weight)
    first = mix(likelihood, weight * (ln_d - centre)) / mixed
    second = mix(likelihood, weight * (ln_d - centre) ** 2) / mixed
    basis = np.column_stack([np.ones_like(first), first, second])
    # slope of 2/3 of an exponent of 3 +- 2; curvature from the camera's ceiling
    prior_mean, prior_sd = np.array([0.0, 2.0, -0.3]), np.array([10.0, 1.3, 0.5])
    scatter = 0.5  # of a track's mean ln SNR about its size's: where in the sheet it was
    # the mean is over detections, so a track weighs by its frames; all together count as many looks as there are tracks
    looks = (n / n.mean() / scatter**2)[:, None]
    normal = basis.T @ (basis * looks) + np.diag(1 / prior_sd**2)
    coefficient = np.linalg.solve(normal, (basis * looks).T @ (per_track / n) + prior_mean / prior_sd**2)
    seen = np.quantile(first, [0.02, 0.98])
    # no extrapolation of a parabola: beyond the sizes seen the slope of the edge goes on, never falling
    inside = np.clip(ln_d - centre, *seen)
    value = coefficient[0] + coefficient[1] * inside + coefficient[2] * inside**2
    edge = np.maximum(coefficient[1] + 2 * coefficient[2] * inside, 0.0)
    value = value + edge * (ln_d - centre - inside)
    return np.clip(np.maximum.accumulate(value), SHORTEST_LOG_SNR, 4.0)


def _expected(
    diffusion_um2_s: np.ndarray, log_peak: np.ndarray, threshold: float, width_um: float, miss: float, dt_s: float, n_frames: int, gap: int
) -> np.ndarray:
    """Return (n_frames + 1, k) expected number of tracks of each span, for one particle per um of depth.

    A particle diffuses in depth z, reflected at the centre of the sheet; it is detected with probability ``Phi(SNR(z) - threshold)``
    less the missed share, a track ends after `gap` + 1 frames (`gap` 0 or 1) without detection. Tracks cut by the start or end of the
    video are counted.
    """
    from scipy.special import ndtr

    reach = width_um * np.sqrt(2 * log_peak) * 1.15 + 3.0 * np.sqrt(2 * diffusion_um2_s * dt_s)
    cell = reach / DEPTH_CELLS
    z = (np.arange(DEPTH_CELLS) + 0.5) * cell[:, None]
    seen = (1 - miss) * ndtr(threshold * np.expm1(log_peak[:, None] - 0.5 * (z / width_um) ** 2))
    move = _moves(cell / np.sqrt(2 * diffusion_um2_s * dt_s))

    def chance(value: np.ndarray) -> np.ndarray:
        return np.matmul(move, value[:, :, None])[:, :, 0]

    soon = chance(seen)
    half_gone = 1 - soon  # not in the next frame, after which the video begins or ends
    gone = half_gone - gap * chance((1 - seen) * soon)  # nor, where that is waited for, in the one after
    beside = np.stack([np.ones_like(seen), half_gone, gone], axis=2)
    counts = np.zeros((n_frames + 1, len(cell)))
    for k in range(len(cell)):
        counts[1:, k] = _spans(_power_products(*_symmetric(move[k], seen[k], gap, beside[k]), n_frames), gap)
    counts *= 2 * cell  # both halves of the sheet
    return counts


def _spans(chance: np.ndarray, gap: int) -> np.ndarray:
    """Return (n,) how many tracks of 1, 2 ... n frames a video of n has, of their chances by what is beside either end, (n, 3, 3).

    That is the video's end, or one frame and the video's end, which only counts where one is waited for, or two frames. A track read
    backwards is as likely.
    """
    n = len(chance)
    counts = np.arange(n - 2 - 2 * gap, -2 - 2 * gap, -1) * chance[:, 2, 2] + 2 * (chance[:, 0, 2] + gap * chance[:, 1, 2])
    if gap:
        counts[-3:-2] = 2 * chance[-3:-2, 0, 2] + chance[-3:-2, 1, 1]
        counts[-2:-1] = 2 * chance[-2:-1, 0, 1]
    counts[-1] = chance[-1, 0, 0]
    return np.asarray(counts)


def _moves(cell: np.ndarray) -> np.ndarray:
    """Return (k, DEPTH_CELLS, DEPTH_CELLS) chances to get from one cell into another, or its mirror image behind the centre.

    `cell` is the width of a cell in SD of a step, (k,).
    """
    from scipy.special import ndtr

    edge = np.arange(2 * DEPTH_CELLS + 1) - 0.5
    below = ndtr(-edge * cell[:, None])
    across = below[:, :-1] - below[:, 1:]  # so many cells further
    i = np.arange(DEPTH_CELLS)
    return np.asarray(across[:, np.abs(i - i[:, None])] + across[:, i + i[:, None] + 1])


def _symmetric(move: np.ndarray, seen: np.ndarray, gap: int, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (d, d) matrix of a step between seen and, where one is waited for, missed, and what is `beside` tracks, (d, j).

    In the roots of the chances to be seen and missed it is symmetric, since `move` is. After two misses in succession there is no track.
    """
    c = len(seen)
    root = np.sqrt(np.concatenate([seen, 1 - seen])[: (1 + gap) * c])
    step, ends = np.zeros((len(root), len(root))), np.zeros((len(root), beside.shape[1]))
    step[:c] = np.concatenate([move] * (1 + gap), axis=1) * root[:c, None] * root
    step[c:, :c] = step[:c, c:].T
    ends[:c] = beside * root[:c, None]
    return step, ends


def _power_products(step: np.ndarray, ends: np.ndarray, n: int) -> np.ndarray:
    """Return (n, j, j) the products ``ends^T step^i ends`` for i below `n`, of a symmetric (d, d) matrix and j vectors, (d, j).

    About sqrt(n) powers on either side: those below m, and the multiples of m.
    """
    few, power, m = ends, step, 1
    while m * m < n:
        few = np.concatenate([few, power @ few], axis=1)
        power, m = power @ power, 2 * m
    many = [ends]
    while len(many) * m < n:
        many.append(power @ many[-1])
    j = ends.shape[1]
    products = np.concatenate(many, axis=1).T @ few
    return np.asarray(products.reshape(len(many), j, m, j).transpose(0, 2, 1, 3).reshape(-1, j, j)[:n])


def _profiled(matrix: np.ndarray, expected: np.ndarray, iterations: int = 40) -> float:
    """Return ``max_c sum_i ln sum_k c_k matrix_ik - sum_k c_k expected_k`` by EM, (Poisson process of tracks)."""
    number = len(matrix) / len(expected) / expected
    for _ in range(iterations):
        mixed = np.maximum(matrix @ number, 1e-300)
        number = number * (matrix.T @ (1 / mixed)) / expected
    return float(np.sum(np.log(np.maximum(matrix @ number, 1e-300))) - number @ expected)
