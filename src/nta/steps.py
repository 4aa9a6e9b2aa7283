"""Tracks -> Steps: the displacements that are sized, drift removed, at the stride at which they are those of free diffusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.drift import Drift, without_drift
from nta.flags import REFUSED
from nta.tracks import Tracks

MOST_STRIDE = 30
UNCORRELATED = 0.02  # correlations of the steps that shift a diffusion coefficient by less than this call for no longer stride
SURE = 4.0  # standard errors: 1 video in 16,000 by chance, since a stride costs most of what the tracks tell
SETTLED = 0.005  # where they do call for one, what the step beyond the neighbour may add to a diffusion coefficient at the stride taken
MOST_EXPOSED = 1.5  # effective exposure of correlated frames in strides; more would make a covariance matrix that cannot be


@dataclass(frozen=True)
class Steps:
    """Sized tracks as the kernel wants them: um, frames, squared standard errors of the spots; sub-track i belongs to `owner[i]`."""

    x_um: np.ndarray
    y_um: np.ndarray
    frame: np.ndarray
    spot_variance_um2: np.ndarray
    start: np.ndarray
    owner: np.ndarray

    @property
    def lapse(self) -> np.ndarray:
        """(n,) frames from the first to the last spot of each sub-track."""
        return self.frame[self.start[1:] - 1] - self.frame[self.start[:-1]]

    def some(self, rows: np.ndarray) -> Steps:
        """Return only the sub-tracks `rows`."""
        return self.pieces(self.start[rows], self.start[rows + 1], self.owner[rows])

    def pieces(self, begin: np.ndarray, end: np.ndarray, owner: np.ndarray) -> Steps:
        """Return what lies from the spots `begin` to before the spots `end`, one after the other; they may overlap."""
        take = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)])
        start = np.append(0, np.cumsum(end - begin))
        return Steps(self.x_um[take], self.y_um[take], self.frame[take], self.spot_variance_um2[take], start, owner)

    def part(self, first: int, last: int) -> Steps:
        """Return the sub-tracks from `first` to before `last`, as views."""
        inside = slice(self.start[first], self.start[last])
        start = self.start[first : last + 1] - self.start[first]
        return Steps(
            self.x_um[inside], self.y_um[inside], self.frame[inside], self.spot_variance_um2[inside], start, self.owner[first:last]
        )

    def strided(self, stride: int) -> Steps:
        """Return the sub-tracks of every `stride`-th frame, at each offset, with frames counted in strides."""
        if stride == 1:
            return self
        track = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        since = self.frame - self.frame[self.start[:-1]][track]
        key = track * stride + since % stride
        order = np.lexsort((self.frame, key))
        key = key[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        count = np.diff(np.append(first, len(key)))
        kept = np.flatnonzero(count >= 2)
        rows = np.concatenate([np.arange(first[i], first[i] + count[i]) for i in kept]) if len(kept) else np.empty(0, np.int64)
        take = order[rows]
        return Steps(
            self.x_um[take],
            self.y_um[take],
            since[take] // stride,
            self.spot_variance_um2[take],
            np.concatenate([[0], np.cumsum(count[kept])]).astype(np.int64),
            self.owner[key[first[kept]] // stride],
        )


def gather_steps(tracks: Tracks, drift: Drift, pixel_um: float) -> Steps:
    """Gather the tracks that are not refused, drift removed; the share of the diffusion that went with a vibration is given back."""
    um = pixel_um / np.sqrt(1.0 - drift.diffusion_share)
    sized = (tracks.flags & np.uint32(REFUSED)) == 0
    spots, n_spots = tracks.spots, tracks.n_spots
    inside = np.repeat(sized, n_spots)
    x, y = without_drift(tracks, drift, inside)
    return Steps(
        x * um,
        y * um,
        spots.frame[inside].astype(np.int64),
        (spots.x_sd_px[inside] ** 2 + spots.y_sd_px[inside] ** 2) / 2 * um**2,
        np.append(0, np.cumsum(n_spots[sized])),
        np.flatnonzero(sized),
    )


@dataclass(frozen=True)
class Stride:
    """How many frames apart the steps are read; `doubt` is the share of D by which correlations left may shift it (one standard error).

    `settled` is False where no stride was found at which they are negligible.
    """

    frames: int
    doubt: float = 0.0
    settled: bool = True


def shortest_stride(steps: Steps, exposed: float) -> Stride:
    """Return the shortest stride at which steps are those of free diffusion.

    Only neighbouring steps of a Brownian particle are correlated: by localisation error, which lowers their mean product, and by blur,
    which raises it to at most R of the diffusive part ``C0 + 2 C1``, R a sixth of the share `exposed` of a frame (Berglund 2010). More
    than that, or correlation of steps further apart, is by what a likelihood without it misreads D. Frame by frame it counts when it is
    4 standard errors from zero. Frames known to be correlated are held to more: the stride is the shortest at which steps two apart
    shift D by less than `SETTLED`, or than half their standard error: what is known to be there is not gone for want of evidence. Any
    blur up to `MOST_EXPOSED` is allowed for there.
    """
    found = Stride(1)
    for stride in range(1, MOST_STRIDE + 1):
        lags, errors = covariances(steps.strided(stride))
        diffusive = lags[0] + 2 * lags[1]
        if diffusive <= 0 or not np.isfinite(errors).all():
            break
        # what steps 1, 2, and 2 and 3 apart add to D, and the standard errors
        excess, second, tail = 2 * np.array([lags[1], lags[2], lags[2] + lags[3]]) / diffusive
        excess_sd, second_sd, tail_sd = 2 * errors / diffusive
        blur = (exposed if stride == 1 else MOST_EXPOSED) / 3
        if stride == 1:
            free = abs(tail) < max(UNCORRELATED, SURE * tail_sd) and excess - blur < max(UNCORRELATED, SURE * excess_sd)
        else:
            free = abs(second) < max(SETTLED, second_sd / 2) and excess - blur < max(SETTLED, excess_sd / 2)
            found = Stride(stride, float(np.hypot(tail, tail_sd)), settled=free)
        if free:
            return found
        if stride == 1:
            found = Stride(1, float(abs(tail)), settled=False)
    return found


def covariances(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Return mean products of steps 0 to 3 apart (both axes, no gaps), um^2, and standard errors: of lag 1, 2, and the sum of 2 and 3."""
    inside = np.ones(len(steps.frame) - 1, bool)
    inside[steps.start[1:-1] - 1] = False
    gapless = inside & (np.diff(steps.frame) == 1)
    dx, dy = np.diff(steps.x_um), np.diff(steps.y_um)
    lags, per_track = np.zeros(4), np.zeros((4, len(steps.owner)))
    track = np.repeat(np.arange(len(steps.owner)), np.diff(steps.start))[1:]
    for lag in range(4):
        n = len(dx) - lag
        # all steps from the first to the last of the pair must be whole, hence of one track
        whole = np.all([gapless[i : i + n] for i in range(lag + 1)], axis=0)
        if not whole.any():
            return lags, np.full(3, np.inf)
        product = 0.5 * (dx[:n] * dx[lag:] + dy[:n] * dy[lag:])[whole]
        lags[lag] = product.mean()
        per_track[lag] = np.bincount(track[:n][whole], product, minlength=len(steps.owner)) / whole.sum()
    # tracks are independent of each other, the sub-tracks of one are not
    owner = np.unique(steps.owner, return_inverse=True)[1]
    neighbour, second, tail = (np.bincount(owner, rows) for rows in (per_track[1], per_track[2], per_track[2] + per_track[3]))
    # beyond the neighbour, the error there is when nothing is correlated
    return lags, np.array([np.std(neighbour) * np.sqrt(len(neighbour)), np.sqrt(np.sum(second**2)), np.sqrt(np.sum(tail**2))])
