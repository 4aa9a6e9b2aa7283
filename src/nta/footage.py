"""Video -> Footage: light, noise and what stands still in its frames, whatever the particles do."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from nta.background import Background, local_level, local_sd
from nta.excerpt import Excerpt

WHOLE_PX = 200_000_000  # a video of no more pixels is read whole: every frame's brightness, and every repeated frame
LIGHT_PX = 4.0  # smoothing in which the light over the field is looked at
PROGRESS = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Light:
    """Brightness of frames, and which repeat the one before.

    Attributes
    ----------
    frame : (n,) int64, frames looked at: all, or those of the excerpt
    grey : (n,) float64, mean of each frame's middle half of pixels, which particles hardly touch
    followers : number of frames whose predecessor was looked at
    repeated : number of these that are the same as it, pixel by pixel
    """

    frame: np.ndarray
    grey: np.ndarray
    followers: int
    repeated: int

    def flicker(self) -> tuple[float, float]:
        """Return the relative SD of the brightness about a straight line in time, and the relative change along that line."""
        mean = float(self.grey.mean())
        if len(self.grey) < 4 or mean <= 0:
            return 0.0, 0.0
        line = np.polynomial.Polynomial.fit(self.frame, self.grey, 1)
        left = self.grey - line(self.frame)
        change = float(line(self.frame[-1]) - line(self.frame[0]))
        return float(np.sqrt(np.sum(left**2) / (len(left) - 2))) / mean, change / mean


@dataclass(frozen=True)
class Noise:
    """Noise of a pixel from one frame to the next, and how it grows with the light.

    Attributes
    ----------
    sd_grey : grey levels, over the field
    slope : variance a grey level, its standard error `slope_sd`; for photon noise the grey levels of one electron. None where the field
        is lit too evenly to tell
    """

    sd_grey: float
    slope: float | None
    slope_sd: float | None


@dataclass(frozen=True)
class Still:
    """What stands still and differs from its surroundings.

    Attributes
    ----------
    hot_px : (n, 2) row and column of single pixels
    things : (m, 4) top, left, bottom, right of larger ones, the last two one past
    texts : (k, 4) the same of groups at the ceiling or at 0 that look burnt in: text, a scale bar, a frame
    covered : share of the field in which a particle would touch one of them
    low, high : 5 % and 95 % quantile of the level of the background over the field, grey levels
    """

    hot_px: np.ndarray
    things: np.ndarray
    texts: np.ndarray
    covered: float
    low: float
    high: float


def measure_light(excerpt: Excerpt, threads: int = 1, progress: PROGRESS | None = None) -> Light:
    """Measure the brightness of every frame, and count repeated ones; of the excerpt's frames only, where the video is long."""
    video = excerpt.whole
    whole = video.n_frames * video.height * video.width <= WHOLE_PX
    numbers = np.arange(video.n_frames) if whole else excerpt.numbers
    held = {int(number): i for i, number in enumerate(excerpt.numbers)}

    def one(number: int) -> tuple[float, int]:
        # frames of the excerpt stay in its memory and are not decoded again
        frame = excerpt.read(held[number]) if number in held else video.read(number)
        return _middle_mean(frame[::2, ::2]), zlib.crc32(frame.data)

    seen: list[tuple[float, int]] = []
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(numbers), 8 * threads):
            seen += pool.map(one, numbers[first : first + 8 * threads].tolist())
            if progress is not None:
                progress("read frames", len(seen), len(numbers))
    grey, sums = np.array([s[0] for s in seen]), np.array([s[1] for s in seen])
    follows = np.diff(numbers) == 1
    return Light(numbers, grey, int(follows.sum()), int(np.sum((np.diff(sums) == 0) & follows)))


def _middle_mean(pixels: np.ndarray) -> float:
    """Return the mean of the middle half of the pixels; unlike a median it knows fractions of a grey level."""
    flat = np.sort(pixels.astype(np.float32), axis=None)  # many times faster than of 8-bit integers
    quarter = len(flat) // 4
    return float(flat[quarter : len(flat) - quarter].mean(dtype=np.float64))


def measure_noise(excerpt: Excerpt, still: np.ndarray) -> Noise:
    """Measure the noise from differences of consecutive frames, overall and against the level of the still background.

    Photon noise has a variance in proportion to the light (Janesick 2007, the photon transfer curve), whatever the camera's offset.
    """
    from scipy.ndimage import gaussian_filter

    pairs = excerpt.pairs[:: max(1, len(excerpt.pairs) // 12)][:12]
    level = gaussian_filter(still, LIGHT_PX).ravel()
    edges = np.quantile(level, np.linspace(0, 1, 13))
    which = np.clip(np.searchsorted(edges, level, side="right") - 1, 0, 11)
    variance = []
    for i in pairs:
        difference = (excerpt.read(i + 1).astype(np.float32) - excerpt.read(i)).ravel()
        difference -= difference.mean()  # flicker is no noise
        variance.append([_clipped_variance(difference[which == k]) / 2 for k in range(12)])
    of_level = np.array([level[which == k].mean() if np.any(which == k) else np.nan for k in range(12)])
    by_level = np.array(variance)
    mean, known = by_level.mean(axis=0), np.isfinite(of_level)
    sd_grey = float(np.sqrt(np.nanmean(mean)))
    if known.sum() < 6 or len(pairs) < 6 or edges[-1] - edges[0] < 1:
        return Noise(sd_grey, None, None)
    # the scatter about the line holds what pairs of frames do not tell: patches that are noisier for other reasons
    (slope, _), ((slope_variance, _), _) = np.polyfit(of_level[known], mean[known], 1, cov=True)
    return Noise(sd_grey, float(slope), float(np.sqrt(slope_variance)))


def _clipped_variance(values: np.ndarray) -> float:
    """Return the variance of what is within 3 SD, particles left out; corrected for what a Gaussian loses by that (2.7 %)."""
    if not len(values):
        return np.nan
    squares = values**2
    variance = float(np.quantile(squares, 0.9)) / 1.645**2  # of a Gaussian; particles cover less of a field than a tenth
    for _ in range(30):
        within = squares[squares <= 9 * variance]
        before, variance = variance, float(np.mean(within)) / 0.9733 if len(within) else 0.0
        if variance > 0.999 * before:
            break
    return variance


def find_still(background: Background, excerpt: Excerpt, noise: Noise, width_px: float) -> Still | None:
    """Find hot pixels, stuck particles, dirt and burnt-in text in the still background; None for a video too short to tell.

    A still thing differs from the level around it by 6 times the noise of the still image, and by more than the noise of a frame, or
    nobody would notice. Connected pixels are one thing; a single one that stands out of its neighbours is a hot pixel.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.measure import label, regionprops

    image = background.still
    if not image.any():
        return None
    level = local_level(image)
    excess = image - level
    there = np.abs(excess) > np.maximum(6 * local_sd(excess), max(noise.sd_grey, 0.5))
    hot, large = [], []
    for r in regionprops(label(there, connectivity=2), intensity_image=np.abs(excess)):
        row, column = r.coords[np.argmax(r.image_intensity[r.image])]
        if not _stays(row, column, excess, level, excerpt, noise.sd_grey):
            there[tuple(r.coords.T)] = False
        elif r.area == 1 and _stands_alone(row, column, excess):
            hot.append((row, column))
        else:
            large.append(r.bbox)
    low, high = (float(q) for q in np.quantile(gaussian_filter(image, LIGHT_PX), [0.05, 0.95]))
    hot_px, things = (np.array(rows, np.int64).reshape(-1, n) for rows, n in ((hot, 2), (large, 4)))
    texts = _texts(image, level, there, excerpt.ceiling)
    top, left, bottom, right = things.T[:, :, None]
    of_text = (top >= texts[:, 0]) & (left >= texts[:, 1]) & (bottom <= texts[:, 2]) & (right <= texts[:, 3])
    return Still(hot_px, things[~of_text.any(axis=1)], texts, _covered(there, 3 * width_px), low, high)


def _stays(row: int, column: int, excess: np.ndarray, level: np.ndarray, excerpt: Excerpt, noise_grey: float) -> bool:
    """Tell whether a pixel has its excess in four fifths of the frames; one that a slow particle passed has not."""
    height = float(excess[row, column])
    seen = np.array([float(excerpt.read(i)[row, column]) for i in range(excerpt.n_frames)]) - level[row, column]
    # the lowest fifth of a steady pixel is 0.84 standard deviations of its noise down
    return bool(np.quantile(np.sign(height) * seen, 0.2) >= abs(height) / 2 - 0.84 * noise_grey)


def _stands_alone(row: int, column: int, excess: np.ndarray) -> bool:
    """Tell whether all neighbours have less than half of a pixel's excess, as no lens can make it."""
    around = np.abs(excess[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2])
    return bool(np.sum(around >= 0.5 * abs(excess[row, column])) == 1)


def _covered(there: np.ndarray, reach_px: float) -> float:
    from scipy.ndimage import distance_transform_edt

    return float(np.mean(distance_transform_edt(~there) <= reach_px)) if there.any() else 0.0


TEXT_GAP_PX = 6  # letters that are no farther apart are one text
TEXT_LEAST_PX = 40  # a scale bar or two letters; a hot column has no width


def _texts(image: np.ndarray, level: np.ndarray, there: np.ndarray, ceiling: float | None) -> np.ndarray:
    """Return the boxes of groups of pixels at the ceiling or at 0, each cut off the field's nearest edge by less than a quarter of it."""
    from scipy.ndimage import binary_dilation
    from skimage.measure import label, regionprops

    if ceiling is None:
        return np.empty((0, 4), np.int64)
    # compression leaves the white of a text a few grey levels short
    burnt = there & (((image >= 0.97 * ceiling) & (level < 0.9 * ceiling)) | ((image <= 0.01 * ceiling) & (level > 0.1 * ceiling)))
    boxes = []
    for r in regionprops(label(binary_dilation(burnt, iterations=TEXT_GAP_PX // 2)), intensity_image=burnt):
        pixels = np.argwhere(r.image_intensity)
        top, left = pixels.min(axis=0) + r.bbox[:2]
        bottom, right = pixels.max(axis=0) + r.bbox[:2] + 1
        height, width = image.shape
        near_edge = min(bottom / height, right / width, 1 - top / height, 1 - left / width) <= 0.25
        if len(pixels) >= TEXT_LEAST_PX and near_edge and min(bottom - top, right - left) >= 2:
            boxes.append((top, left, bottom, right))
    return np.array(boxes, np.int64).reshape(-1, 4)
