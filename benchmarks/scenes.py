"""Test scenes with exact truth, which share nothing with nta's simulator: Gaussian spots integrated over pixels, a camera's noise.

Each frame has spots at fresh places, so frames are independent; the truth, the noise and hence the Cramer-Rao bound are known exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

SNRS = (30.0, 10.0, 5.0, 3.0)
REACH_SD = 6.0


@dataclass(frozen=True)
class Scene:
    """What a film shows; greys are camera grey levels.

    `snr` is the height of a spot over the SD of a background pixel's noise, photons, read-out and rounding together. `electrons_per_grey`
    infinite: no photon noise. `apart_px`: least distance of two spots of a frame; `rim_px`: of a spot's centre from the edge, so that no
    detector's rim counts against it. `uneven`: range of the light over the field, relative; `level_drift`: what the light loses over
    the film, relative; `pattern_drift_px`: how far its pattern moves meanwhile. `hot_noise`: hot pixels have the photon noise of what they
    show, as those of a dark current do.
    """

    height: int = 480
    width: int = 640
    spots: int = 60
    snr: float = 30.0
    sigma_px: float = 1.4
    level: float = 12.0
    electrons_per_grey: float = 0.5
    read_noise: float = 1.5
    dtype: str = "uint8"
    uneven: float = 0.0
    level_drift: float = 0.0
    pattern_drift_px: float = 0.0
    hot: int = 0
    hot_noise: bool = False
    stuck: int = 0
    apart_px: float = 0.0
    rim_px: float = 8.0
    seed: int = 0

    @property
    def rounds(self) -> bool:
        return self.dtype != "float32"

    @property
    def ceiling(self) -> float:
        return float(np.iinfo(self.dtype).max) if self.rounds else math.inf

    @property
    def noise(self) -> float:
        """SD of a background pixel, grey levels."""
        return math.sqrt(self.variance(np.float64(self.level)))

    @property
    def peak(self) -> float:
        return self.snr * self.noise

    def variance(self, grey: np.ndarray) -> np.ndarray:
        return grey / self.electrons_per_grey + self.read_noise**2 + (1 / 12 if self.rounds else 0.0)


@dataclass(frozen=True)
class Film:
    """Frames in memory with the places of their spots; as much of a `nta.video.Video` as the search for spots asks for.

    `still` are the places of hot pixels and stuck particles, (n, 2), column and row; `x_px`, `y_px` have a row a frame.
    """

    scene: Scene
    frames: np.ndarray
    x_px: np.ndarray
    y_px: np.ndarray
    still: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def n_frames(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        return self.frames.shape[2]

    @property
    def dtype(self) -> str:
        return str(self.frames.dtype)

    @property
    def frame_dtype(self) -> np.dtype:
        return self.frames.dtype

    @property
    def ceiling(self) -> float | None:
        return self.scene.ceiling if self.scene.rounds else None

    def read(self, i: int) -> np.ndarray:
        return self.frames[i]

    def first(self, n: int) -> Film:
        return Film(self.scene, self.frames[:n], self.x_px[:n], self.y_px[:n], self.still)


def light(scene: Scene, share: float) -> np.ndarray:
    """Return the background, (height, width), when `share` of the film has passed."""
    y, x = np.mgrid[: scene.height, : scene.width]
    wave = 2 * math.pi / max(scene.height, scene.width)
    moved = scene.pattern_drift_px * share
    pattern = 0.6 * np.sin(0.8 * wave * (x - moved) + 0.4) * np.cos(0.7 * wave * y) + 0.4 * np.cos(1.3 * wave * (x - moved + y))
    return scene.level * (1 + scene.uneven / 2 * pattern) * (1 - scene.level_drift * share)


def make_film(scene: Scene, n_frames: int) -> Film:
    """Film a scene. A frame does not depend on how many there are, but for light that drifts over the film."""
    rng = np.random.default_rng([scene.seed, 1])
    span = np.array([scene.width, scene.height]) - 1 - 2 * scene.rim_px
    stuck = scene.rim_px + span * rng.random((scene.stuck, 2))
    hot = np.column_stack([rng.integers(0, scene.width, scene.hot), rng.integers(0, scene.height, scene.hot)]).astype(int)
    hot_grey = rng.uniform(0.1, 0.8, scene.hot) * 255
    stuck_peak = rng.uniform(0.5, 1.5, scene.stuck) * scene.peak
    frames = np.empty((n_frames, scene.height, scene.width), scene.dtype)
    place = np.empty((n_frames, scene.spots, 2))
    moves = scene.level_drift or scene.pattern_drift_px
    back = light(scene, 0.0)
    for i in range(n_frames):
        rng = np.random.default_rng([scene.seed, 2, i])
        place[i] = _places(scene, span, rng)
        mean = light(scene, i / max(1, n_frames - 1)) if moves else back.copy()
        add_spots(mean, place[i], np.full(scene.spots, scene.peak), scene.sigma_px)
        add_spots(mean, stuck, stuck_peak, scene.sigma_px)
        offset = np.zeros_like(mean)
        (mean if scene.hot_noise else offset)[hot[:, 1], hot[:, 0]] += hot_grey
        frames[i] = _expose(scene, mean, offset, rng)
    return Film(scene, frames, place[..., 0], place[..., 1], np.concatenate([hot.astype(float), stuck]))


def _places(scene: Scene, span: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if not scene.apart_px:
        return scene.rim_px + span * rng.random((scene.spots, 2))
    kept = np.empty((0, 2))
    while len(kept) < scene.spots:
        one = scene.rim_px + span * rng.random(2)
        if not len(kept) or np.min(np.sum((kept - one) ** 2, axis=1)) >= scene.apart_px**2:
            kept = np.concatenate([kept, one[None]])
    return kept


def profile(at: np.ndarray, centre: np.ndarray, sigma: float) -> np.ndarray:
    """Return the mean over pixels `at` of a Gaussian of height 1."""
    scale = math.sqrt(2) * sigma
    return math.sqrt(math.pi / 2) * sigma * (erf((at + 0.5 - centre) / scale) - erf((at - 0.5 - centre) / scale))


def add_spots(image: np.ndarray, place: np.ndarray, peak: np.ndarray, sigma: float) -> None:
    reach = math.ceil(REACH_SD * sigma)
    for (x, y), height in zip(place, peak, strict=True):
        left, right = max(0, round(x) - reach), min(image.shape[1], round(x) + reach + 1)
        top, bottom = max(0, round(y) - reach), min(image.shape[0], round(y) + reach + 1)
        across, down = profile(np.arange(left, right), x, sigma), profile(np.arange(top, bottom), y, sigma)
        image[top:bottom, left:right] += height * down[:, None] * across


def _expose(scene: Scene, mean: np.ndarray, offset: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grey = mean if math.isinf(scene.electrons_per_grey) else rng.poisson(mean * scene.electrons_per_grey) / scene.electrons_per_grey
    grey = grey + offset + scene.read_noise * rng.standard_normal(mean.shape, np.float32)
    return np.clip(np.rint(grey), 0, scene.ceiling) if scene.rounds else grey
