"""Video -> Background: what does not move, and the local level and noise of each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.video import Video

SAMPLE_FRAMES = 51  # the interquartile mean of 51 frames adds 1 % to the noise of a frame
FEWEST_FRAMES = 20  # below, a slow particle covers its pixels for too large a share of the video
LEVEL_TILE_PX = 80  # the level of a tile is then known to 1/70 of a pixel's noise, a tenth of the filtered noise
NOISE_TILE_PX = 64
MAD_TO_SD = 1.4826  # of a Gaussian


@dataclass(frozen=True)
class Background:
    """The still part of a video.

    Attributes
    ----------
    still : (height, width) float32, grey level each pixel has when no particle is there: uneven light, dirt, stuck particles and hot
        pixels; zero for a video too short to tell
    sampled : frame numbers it was taken from
    """

    still: np.ndarray
    sampled: np.ndarray


def find_background(video: Video) -> Background:
    """Estimate the still image as each pixel's interquartile mean over frames spread evenly over the video.

    A particle that covers a pixel less than a quarter of the time does not enter; a mean instead of a median keeps fractions of a grey
    level, without which the rounding of a quiet camera becomes a pattern of its own.
    """
    sampled = np.unique(np.linspace(0, video.n_frames - 1, min(SAMPLE_FRAMES, video.n_frames)).round().astype(int))
    if video.n_frames < FEWEST_FRAMES:
        return Background(np.zeros((video.height, video.width), np.float32), sampled)
    stack = np.stack([video.read(int(i)) for i in sampled])
    still = np.empty((video.height, video.width), np.float32)
    quarter = len(stack) // 4
    for top in range(0, video.height, 64):
        rows = np.sort(stack[:, top : top + 64], axis=0)
        still[top : top + 64] = rows[quarter : len(stack) - quarter].mean(axis=0, dtype=np.float64)
    return Background(still, sampled)


def local_level(image: np.ndarray) -> np.ndarray:
    """Return the level of `image` around each pixel, (height, width) float32, without the particles.

    In each tile the mean of what lies within 3 robust SD of the median, interpolated bilinearly between tile centres.
    """
    tiles, y_mid, x_mid = _tiles(image, LEVEL_TILE_PX)
    centre, spread = _level_and_sd(tiles[..., ::2])
    inside = np.abs(tiles - centre[..., None]) <= 3 * spread[..., None]
    level = np.where(inside, tiles, 0).sum(axis=-1) / np.maximum(inside.sum(axis=-1), 1)
    return _interpolate(level, y_mid, x_mid, image.shape)


def local_sd(image: np.ndarray) -> np.ndarray:
    """Return the robust SD of `image` around each pixel, (height, width) float32; a tile full of particles follows its neighbours."""
    from scipy.ndimage import median_filter

    tiles, y_mid, x_mid = _tiles(image, NOISE_TILE_PX)
    centre, spread = _level_and_sd(tiles)
    for _ in range(2):
        # particles widen the spread; what lies beyond 3 SD is theirs
        kept = np.where(np.abs(tiles - centre[..., None]) <= 3 * spread[..., None], tiles, np.nan)
        centre, spread = _level_and_sd(kept)
    return _interpolate(median_filter(spread, size=3, mode="nearest"), y_mid, x_mid, image.shape)


def typical_sd(image: np.ndarray) -> float:
    """Return 1.4826 times the median absolute deviation of `image`."""
    return float(_level_and_sd(np.ravel(image)[None, ::7])[1][0])


def _tiles(image: np.ndarray, size_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut `image` into tiles of about `size_px`: (rows, columns, pixels), and the rows and columns of their centres.

    Fewer than a tile's worth of pixels at the lower and right edges belong to no tile.
    """
    rows, columns = (max(1, round(n / size_px)) for n in image.shape)
    high, wide = image.shape[0] // rows, image.shape[1] // columns
    cut = image[: rows * high, : columns * wide].reshape(rows, high, columns, wide).swapaxes(1, 2).reshape(rows, columns, -1)
    return cut, (np.arange(rows) + 0.5) * high - 0.5, (np.arange(columns) + 0.5) * wide - 0.5


def _level_and_sd(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return median and robust SD along the last axis; NaN are left out."""
    centre = _median(values)
    return centre, MAD_TO_SD * _median(np.abs(values - centre[..., None]))


def _median(values: np.ndarray) -> np.ndarray:
    """Return the median along the last axis, NaN left out: NumPy's own, to the last bit, in a quarter of the time."""
    rows = np.sort(values, axis=-1)
    n = values.shape[-1] - np.isnan(rows).sum(axis=-1)
    low, high = (np.take_along_axis(rows, np.maximum(k, 0)[..., None], axis=-1)[..., 0] for k in ((n - 1) // 2, n // 2))
    return 0.5 * (low + high)


def _interpolate(grid: np.ndarray, y: np.ndarray, x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate `grid`, given at `y` and `x`, bilinearly to every pixel; constant beyond the outermost centres."""
    across = np.stack([np.interp(np.arange(shape[1]), x, row) for row in grid])
    at = np.interp(np.arange(shape[0]), y, np.arange(len(y))) if len(y) > 1 else np.zeros(shape[0])
    below = np.minimum(at.astype(int), max(len(y) - 2, 0))
    share = (at - below)[:, None]
    above = np.minimum(below + 1, len(y) - 1)
    return (across[below] * (1 - share) + across[above] * share).astype(np.float32)
