"""Tracks of known particles in a slab of light, without pixels: detection and linking made no mistake but those put in.

Nothing of nta's simulation is in it: every particle's path is drawn by itself, with the mean over the exposure, and cut where it is
not seen: beyond the light, or out of the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from nta.diffusion import Diffusion, find_diffusion
from nta.distribution import Distribution, find_distribution
from nta.drift import Drift
from nta.limit import find_limit
from nta.presence import Presence, find_presence
from nta.settings import Settings, Used
from nta.spots import Spots
from nta.tracks import Tracks
from nta.video import Calibration

STOKES_EINSTEIN_UM2_S_NM = 490.65  # k_B T / (3 pi eta) in water at 25 C, 0.8900 mPa s
PIXEL_UM, FPS, EXPOSURE_S = 0.166, 30.0, 0.015
N_FRAMES, MIN_FRAMES = 600, 5
FIELD_UM = (106.0, 80.0)
REST_SD_UM, SPOT_UM = 0.040, 0.23  # localisation error of a particle at rest, width of its spot
TOLD = 1.2  # of the error a spot's fit tells, the true one; 1.19 to 1.28 in simulated films
THRESHOLD_SNR = 5.0
GATE_UM = 4.0
BATCH = 400
FAR_SD = 3.0  # of a walk in the whole video, from farther than which nobody comes
COME_NM, COME_BATCHES = np.geomspace(15.0, 3500.0, 24), 4  # sizes of which is counted how many come by, batches of each

Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Scene:
    """How particles are seen. A hard slab unless `sheet_sd_um` is given: then light falls off from the middle as a Gaussian.

    `exponent` is that of brightness over diameter, `peak_snr` the signal-to-noise of 100 nm in the middle; `missed` the share of
    detections that are not made; `noise_share` and `immobile_share` are of all tracks.
    """

    depth_um: float = 8.0
    sheet_sd_um: float = 0.0
    exponent: float = 0.0
    peak_snr: float = 20.0
    missed: float = 0.0
    gap_frames: int = 0
    noise_share: float = 0.0
    immobile_share: float = 0.0

    @property
    def typical_depth_um(self) -> float:
        """Depth in which 100 nm is above the threshold."""
        return 2 * self.sheet_sd_um * float(np.sqrt(2 * np.log(self.peak_snr / THRESHOLD_SNR))) if self.sheet_sd_um else self.depth_um


@dataclass(frozen=True)
class Shot:
    """Simulated tracks: rows ordered by track, then frame.

    `particle` and `size_nm` are of each track, -1 and NaN of what does not diffuse.
    """

    x_um: np.ndarray
    y_um: np.ndarray
    frame: np.ndarray
    sd_um: np.ndarray
    snr: np.ndarray
    start: np.ndarray
    particle: np.ndarray
    size_nm: np.ndarray
    scene: Scene = field(default_factory=Scene)

    @property
    def n_spots(self) -> np.ndarray:
        """(n,) spots of each track."""
        return np.diff(self.start)

    def tracks(self) -> Tracks:
        """Return them as nta has them."""
        n = len(self.frame)
        told_px = self.sd_um / TOLD / PIXEL_UM
        ones = np.ones(n)
        spots = Spots(
            frame=self.frame.astype(np.int32), x_px=self.x_um / PIXEL_UM, y_px=self.y_um / PIXEL_UM, x_sd_px=told_px, y_sd_px=told_px,
            signal=self.snr * 2, snr=self.snr, width_px=1.4 * ones, flags=np.zeros(n, np.uint32), background=np.full(N_FRAMES, 10.0),
            noise=np.full(N_FRAMES, 2.0), area_px=FIELD_UM[0] * FIELD_UM[1] / PIXEL_UM**2,
            chosen={"threshold_snr": Used(THRESHOLD_SNR, "measured"), "spot_width_px": Used(1.4, "measured")},
        )  # fmt: skip
        gate_px = GATE_UM / PIXEL_UM * np.sqrt(np.arange(1, 2 + self.scene.gap_frames))
        chosen = {"gap_frames": Used(self.scene.gap_frames, "default"), "search_range_px": Used(float(gate_px[0]), "measured")}
        return Tracks(spots, self.start, np.zeros(len(self.start) - 1, np.uint32), np.full(n, np.nan), gate_px, chosen)


def calibration() -> Calibration:
    """Return the scale of all scenes, known exactly."""
    return Calibration(Used(PIXEL_UM, "option", 0.0), Used(FPS, "option", 0.0), Used(EXPOSURE_S, "option", 0.0), Used(25.0, "option", 0.0))


def shoot(draw_nm: Draw, scene: Scene, n_tracks: int, seed: int) -> Shot:
    """Simulate particles of sizes ``draw_nm(rng, n)`` one after the other until they have left `n_tracks` tracks."""
    rng = np.random.default_rng(seed)
    farthest = _farthest(scene, np.array([15.0]))
    found: list[Any] = []
    particles = 0
    while len(found) < n_tracks:
        size = draw_nm(rng, 50 * BATCH)
        start = rng.uniform(-farthest, farthest, (3, len(size)))
        come = np.all(np.abs(start) < _farthest(scene, size), axis=0)
        for some in np.array_split(np.flatnonzero(come), max(1, int(come.sum()) // BATCH)):
            for one in _paths(rng, scene, size[some], start[:, some]):
                if one:
                    found += [(particles, *track) for track in one]
                    particles += 1
                if len(found) >= n_tracks:
                    break
            if len(found) >= n_tracks:
                break
    found += _others(rng, scene, len(found))
    return _gather(found, scene)


@lru_cache
def log_visitors_um(scene: Scene) -> np.ndarray:
    """Return ln of how many different particles of each of `COME_NM` leave a track in a video, per particle per um of depth."""
    found = []
    for i, size_nm in enumerate(COME_NM):
        sizes = np.full(BATCH, size_nm)
        farthest = _farthest(scene, sizes[:1])
        come = 0
        for batch in range(COME_BATCHES):
            rng = np.random.default_rng([i, batch])
            come += sum(bool(tracks) for tracks in _paths(rng, scene, sizes, rng.uniform(-farthest, farthest, (3, BATCH))))
        # where none was seen there is less than one
        volume = float(np.prod(2 * farthest)) / np.prod(FIELD_UM)
        found.append(np.log(volume * max(come, 0.5) / (BATCH * COME_BATCHES)))
    return np.array(found)


def seen_particles(shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """Return the true sizes of the particles that left tracks, and each one's weight by number: one over how many of its size come by."""
    moves = shot.particle >= 0
    _, first = np.unique(shot.particle[moves], return_index=True)
    size_nm = shot.size_nm[moves][first]
    weight = np.exp(-np.interp(np.log(size_nm), np.log(COME_NM), log_visitors_um(shot.scene)))
    return size_nm, weight / weight.sum()


def _farthest(scene: Scene, size_nm: np.ndarray) -> np.ndarray:
    """Return (3, n) how far from the middle of the field and of the light a particle may start that is still to come, um."""
    walk = FAR_SD * np.sqrt(2 * STOKES_EINSTEIN_UM2_S_NM / size_nm * N_FRAMES / FPS)
    return np.array([FIELD_UM[0] / 2 + walk, FIELD_UM[1] / 2 + walk, _reach(scene, size_nm) + walk])


def _peak(scene: Scene, size_nm: np.ndarray) -> np.ndarray:
    return np.minimum(scene.peak_snr * (size_nm / 100.0) ** scene.exponent, 40 * THRESHOLD_SNR)


def _reach(scene: Scene, size_nm: np.ndarray) -> np.ndarray:
    """Return beyond which depth a particle is not seen, um."""
    if not scene.sheet_sd_um:
        return np.full(len(size_nm), scene.depth_um / 2)
    log_peak = np.log(np.maximum(_peak(scene, size_nm) / (THRESHOLD_SNR - 3.0), 1.0))
    return scene.sheet_sd_um * np.sqrt(2 * log_peak)


def _paths(rng: np.random.Generator, scene: Scene, size_nm: np.ndarray, start_um: np.ndarray) -> list[list[Any]]:
    """Return the tracks of each particle: size, frames, x, y, localisation error, signal-to-noise."""
    n, d = len(size_nm), STOKES_EINSTEIN_UM2_S_NM / size_nm
    lit, dark = EXPOSURE_S, 1 / FPS - EXPOSURE_S
    mean, end = np.empty((3, n, N_FRAMES)), np.empty((3, n, N_FRAMES))
    for axis in range(3):
        # over the exposure: end and mean of a Brownian path, variances 2 D t and 2 D t / 3, covariance D t
        whole = rng.normal(size=(n, N_FRAMES)) * np.sqrt(2 * d * lit)[:, None]
        about = rng.normal(size=(n, N_FRAMES)) * np.sqrt(d * lit / 6)[:, None]
        rest = rng.normal(size=(n, N_FRAMES)) * np.sqrt(2 * d * dark)[:, None]
        end[axis] = np.cumsum(whole + rest, axis=1)
        before = np.concatenate([np.zeros((n, 1)), end[axis][:, :-1]], axis=1)
        mean[axis] = before + whole / 2 + about
    mean += start_um[:, :, None]
    depth = mean[2]
    smear = 1 + d * EXPOSURE_S / SPOT_UM**2
    if scene.sheet_sd_um:
        snr = _peak(scene, size_nm)[:, None] * np.exp(-0.5 * (depth / scene.sheet_sd_um) ** 2) + rng.normal(size=depth.shape)
        hit = snr > THRESHOLD_SNR
    else:
        snr = _peak(scene, size_nm)[:, None] + rng.normal(size=depth.shape)
        hit = np.abs(depth) < scene.depth_um / 2
    hit &= (rng.random(hit.shape) >= scene.missed) & np.all(np.abs(mean[:2]) < np.array(FIELD_UM)[:, None, None] / 2, axis=0)
    sd = np.broadcast_to(REST_SD_UM * np.sqrt(smear)[:, None], depth.shape)
    x = FIELD_UM[0] / 2 + mean[0] + sd * rng.normal(size=depth.shape)
    y = FIELD_UM[1] / 2 + mean[1] + sd * rng.normal(size=depth.shape)
    tracks: list[list[Any]] = []
    for i in range(n):
        seen = np.flatnonzero(hit[i])
        lapse = np.diff(seen)
        far = np.hypot(np.diff(x[i, seen]), np.diff(y[i, seen])) > GATE_UM * np.sqrt(np.minimum(lapse, 1 + scene.gap_frames))
        cut = np.flatnonzero((lapse > 1 + scene.gap_frames) | far) + 1
        own = [rows for rows in np.split(seen, cut) if len(rows) >= MIN_FRAMES]
        tracks.append([(size_nm[i], rows, x[i, rows], y[i, rows], sd[i, rows], snr[i, rows]) for rows in own])
    return tracks


def _others(rng: np.random.Generator, scene: Scene, n: int) -> list[Any]:
    """Return tracks of what does not diffuse: chains of unrelated detections, and stuck particles."""
    whole = n / (1 - scene.noise_share - scene.immobile_share)
    found = []
    for _ in range(int(round(scene.noise_share * whole))):
        length = MIN_FRAMES - 1 + rng.geometric(0.5)
        r, angle = GATE_UM * np.sqrt(rng.random(length)), rng.uniform(0, 2 * np.pi, length)
        x, y = np.cumsum(r * np.cos(angle)) + rng.uniform(0, FIELD_UM[0]), np.cumsum(r * np.sin(angle)) + rng.uniform(0, FIELD_UM[1])
        first = rng.integers(0, N_FRAMES - length)
        snr = THRESHOLD_SNR + rng.exponential(0.5, length)
        found.append((-1, np.nan, first + np.arange(length), x, y, np.full(length, REST_SD_UM * 1.5), snr))
    for _ in range(int(round(scene.immobile_share * whole))):
        length = int(rng.integers(20, N_FRAMES))
        first = rng.integers(0, N_FRAMES - length + 1)
        x, y = (rng.uniform(0, side) + REST_SD_UM * rng.normal(size=length) for side in FIELD_UM)
        snr = 2 * THRESHOLD_SNR + rng.normal(size=length)
        found.append((-1, np.nan, first + np.arange(length), x, y, np.full(length, REST_SD_UM), snr))
    return found


def _gather(found: list[Any], scene: Scene) -> Shot:
    count = [len(track[2]) for track in found]
    columns = [np.concatenate([track[i] for track in found]) for i in range(2, 7)]
    frame, x, y, sd, snr = columns
    return Shot(
        x, y, frame, np.ascontiguousarray(sd), snr, np.append(0, np.cumsum(count)),
        np.array([track[0] for track in found]), np.array([track[1] for track in found]), scene,
    )  # fmt: skip


def size(shot: Shot, settings: Settings | None = None) -> tuple[Diffusion, Presence, Distribution]:
    """Size the tracks as ``nta analyze`` does."""
    settings, tracks = settings or Settings(), shot.tracks()
    still = Drift(np.zeros(N_FRAMES), np.zeros(N_FRAMES), N_FRAMES)
    diffusion = find_diffusion(tracks, still, calibration(), 0.8900)
    presence = find_presence(tracks, diffusion, calibration(), MIN_FRAMES)
    presence = presence.down_to(diffusion.grid_nm, find_limit(presence).diameter_nm)
    return diffusion, presence, find_distribution(tracks, diffusion, presence, calibration(), settings)
