"""Spots whose particles are known: Brownian, in a light sheet or in a plane, with flow, missed and false spots, at any density."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta import physics
from nta.settings import Used
from nta.spots import Spots
from nta.video import Calibration

PIXEL_UM, FPS, CELSIUS, VISCOSITY_MPAS = 0.166, 25.0, 25.0, 0.89
SPOT_PX, THRESHOLD = 1.5, 5.0
SHEET_UM, RESERVOIR_SHEETS = 4.0, 6.0  # SD of the light sheet; depth of what is simulated, on end periodic


def calibration() -> Calibration:
    given = (PIXEL_UM, FPS, 1e-9, CELSIUS)
    return Calibration(*(Used(value, "option", 0.0) for value in given))


@dataclass(frozen=True)
class Scene:
    """What is filmed: `in_view` particles to be seen of sizes even in ln between two ends, brightness as d^2, or all of one (`flat`)."""

    in_view: float = 60
    width: int = 640
    height: int = 480
    sizes_nm: tuple[float, float] = (40.0, 400.0)
    flow_px: tuple[float, float] = (0.0, 0.0)
    missed: float = 0.05
    false_spots: float = 0.1
    flat: bool = False
    seed: int = 0

    @property
    def density(self) -> float:
        return self.in_view / (self.width * self.height)


def make_spots(scene: Scene, n_frames: int) -> tuple[Spots, np.ndarray]:
    """Return the spots of a scene and the particle of each: another one beyond each border, and for each false spot."""
    rng = np.random.default_rng(scene.seed)
    box = np.array([scene.width, scene.height, RESERVOIR_SHEETS * SHEET_UM])
    # in a sheet, those of 100 nm and 30 times the noise are seen 15 um deep
    n = round(scene.in_view * (1.0 if scene.flat else box[2] / 15.0))
    size = np.exp(rng.uniform(*np.log(scene.sizes_nm), n))
    step_um = np.sqrt(2 * physics.diffusion_um2_s(1.0, CELSIUS, VISCOSITY_MPAS) / size / FPS)
    peak = np.full(n, 30.0) if scene.flat else 30.0 * np.minimum((size / 100) ** 2, 8.0)
    at, turns = rng.uniform(0, box, (n, 3)), np.zeros((n, 3), np.int64)
    rows = []
    for f in range(n_frames):
        light = 1.0 if scene.flat else np.exp(-0.5 * ((at[:, 2] - box[2] / 2) / SHEET_UM) ** 2)
        snr = peak * light * np.exp(0.05 * rng.normal(size=n)) + rng.normal(size=n)
        k = np.flatnonzero((snr > THRESHOLD) & (rng.random(n) >= scene.missed))
        seen = at[k, :2] + np.sqrt(2) * SPOT_PX / snr[k, None] * rng.normal(size=(len(k), 2))
        rows.append(np.column_stack([np.full(len(k), f), seen, snr[k], ((k * 999 + turns[k, 0]) * 999 + turns[k, 1]) * 999 + turns[k, 2]]))
        m = rng.poisson(scene.false_spots)
        strange = -1.0 - f * 10000 - np.arange(m)
        rows.append(np.column_stack([np.full(m, f), rng.uniform(0, box[:2], (m, 2)), THRESHOLD + rng.exponential(0.2, m), strange]))
        at[:, :2] += step_um[:, None] / PIXEL_UM * rng.normal(size=(n, 2)) + scene.flow_px
        at[:, 2] += 0.0 if scene.flat else step_um * rng.normal(size=n)
        turns += np.floor(at / box).astype(np.int64)
        at %= box
    table = np.concatenate(rows)
    table = table[rng.permutation(len(table))]
    frame, x, y, snr, name = np.ascontiguousarray(table[np.argsort(table[:, 0], kind="stable")].T)
    sd = np.sqrt(2) * SPOT_PX / snr
    flags, level = np.zeros(len(frame), np.uint32), np.ones(n_frames)
    chosen = {"threshold_snr": Used(THRESHOLD, "measured"), "spot_width_px": Used(SPOT_PX, "measured")}
    width, area = np.full(len(frame), SPOT_PX), float(scene.width * scene.height)
    spots = Spots(frame.astype(np.int32), x, y, sd, sd, snr, snr, width, flags, level, level, area, chosen=chosen)
    return spots, np.unique(name, return_inverse=True)[1]


@dataclass(frozen=True)
class Score:
    """Shares: of the true links between neighbouring frames that were made, of those over a missed frame, of the longest twentieth of the
    former, and of all links made that are wrong."""

    found: float
    bridged: float
    long_found: float
    wrong: float
    n_wrong: int


def pairs(frame: np.ndarray, particle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of each two spots that follow each other in a track."""
    order = np.lexsort((frame, particle))
    same = np.diff(particle[order]) == 0
    return order[:-1][same], order[1:][same]


def judge(spots: Spots, truth: np.ndarray, particle: np.ndarray) -> Score:
    i, j = pairs(spots.frame, particle)
    a, b = pairs(spots.frame, truth)
    n = len(spots)
    made = np.isin(a * n + b, i * n + j)
    lapse = spots.frame[b] - spots.frame[a]
    length = np.hypot(spots.x_px[b] - spots.x_px[a], spots.y_px[b] - spots.y_px[a])
    near, over = lapse == 1, lapse == 2
    long = near & (length > np.quantile(length[near], 0.95))
    wrong = truth[i] != truth[j]
    bridged = float(made[over].mean()) if over.any() else float("nan")
    return Score(float(made[near].mean()), bridged, float(made[long].mean()), float(wrong.mean()), int(wrong.sum()))
