"""Video -> Background: what does not move, and the local level and noise of each frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np

from nta.video import Video

EACH = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]
"""`map`, or that of a pool of threads."""

SAMPLE_FRAMES = 51  # the interquartile mean of 51 frames adds 1 % to the noise of a frame
HELD_BYTES = 48 * 2**20  # of sampled frames; fewer are taken where they are larger
FEWEST_FRAMES = 20  # below, a slow particle covers its pixels for too large a share of the video
LEVEL_TILE_PX = 80  # the level of a tile is then known to 1/70 of a pixel's noise, a tenth of the filtered noise
NOISE_TILE_PX = 64
MAD_TO_SD = 1.4826  # of a Gaussian
THINNED = 5  # every so many rows and columns of a still image tell its level and noise: some 200 of a tile
BAND_PX = 1 << 15  # of a frame that are sorted at a time
STANDS_OUT = 4.0  # standard errors of the still image above which something is there
LEVELS, FEWEST_PIXELS, PIXELS = 12, 100, 80_000  # of the photon transfer curve, the pixels each is of at least, and all of it
NEIGHBOURS_PX = 8  # across which the light is even: half of them tell its level six times as well as one
SURE = 5.0  # standard errors of a slope that is told
MOST_CHANGE = 2.0  # of the light of a stuck thing during the video
MOVED = 0.1  # share of a thing's light that is elsewhere in the last third of the video; a shift by half its width


@dataclass(frozen=True)
class Background:
    """The still part of a video.

    Attributes
    ----------
    still : (height, width) float32, grey level each pixel has when no particle is there: uneven light, dirt, stuck particles and hot
        pixels; zero for a video too short to tell
    sampled : frame numbers it was taken from
    noise : (height, width) float32, SD of each pixel in time, particles left out; (0, 0) for a video too short to tell
    per_grey : variance that light of one grey level adds, by which darker and brighter pixels differ; 0 where they do not
    """

    still: np.ndarray
    sampled: np.ndarray
    noise: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    per_grey: float = 0.0

    def own_share(self) -> tuple[np.ndarray, float]:
        """Return within what edge, (height, width) float32, a sampled frame differs from the still image by too little, and by what share.

        A value of the middle half, m of n, is ``1 / m`` of the interquartile mean; without it the mean would be off by ``1 / (m - 1)`` of
        what it differs by. Leaving one beyond the quartiles out shifts the middle half by one value, as far as one at the quartile would.
        """
        n = len(self.sampled)
        return self.noise * np.float32(NormalDist().inv_cdf(0.75)), 1 / (n - 2 * (n // 4) - 1)


def find_background(video: Video, each: EACH = map) -> Background:
    """Estimate the still image as each pixel's interquartile mean over frames spread evenly over the video.

    A particle that covers a pixel less than a quarter of the time does not enter; a mean instead of a median keeps fractions of a grey
    level, without which the rounding of a quiet camera becomes a pattern of its own. What entered and moves all the same, a slow
    particle in a short video, is taken out again. `each` is `map`, or that of a pool of threads.
    """
    most = int(np.clip(HELD_BYTES // (video.height * video.width * video.frame_dtype.itemsize), FEWEST_FRAMES, SAMPLE_FRAMES))
    sampled = np.unique(np.linspace(0, video.n_frames - 1, min(most, video.n_frames)).round().astype(int))
    shape = (video.height, video.width)
    if video.n_frames < FEWEST_FRAMES:
        return Background(np.zeros(shape, np.float32), sampled)
    still, noise, early, late = _means(video, sampled, each)
    jobs = (lambda: _photon_noise(still, noise), lambda: _without_moving(still, noise, early, late, len(sampled)))
    per_grey, (still, noise) = each(lambda job: job(), jobs)
    return Background(still, sampled, noise, per_grey)


def _means(video: Video, sampled: np.ndarray, each: EACH) -> list[np.ndarray]:
    """Return still image and noise, and the means of the first and of the last third, the sharpest there is to tell what moves."""
    n, pixels = len(sampled), video.height * video.width
    stack = np.empty((n, pixels), video.frame_dtype)
    for k, frame in enumerate(each(video.read, sampled.tolist())):
        stack[k] = frame.ravel()
    of_all, of_third = quartering_network(n), quartering_network(n // 3)
    means = [np.empty(pixels, np.float32) for _ in range(4)]

    def band(first: int) -> None:
        part = slice(first, min(first + BAND_PX, pixels))
        means[0][part], means[1][part] = middle(stack, part, of_all)
        means[2][part], _ = middle(stack[: n // 3], part, of_third)
        means[3][part], _ = middle(stack[n - n // 3 :], part, of_third)

    for _ in each(band, range(0, pixels, BAND_PX)):
        pass
    return [mean.reshape(video.height, video.width) for mean in means]


def sorting_network(n: int) -> list[tuple[int, int]]:
    """Return the pairs that sort `n` values when each in turn is put in order (Batcher's odd-even merge sort)."""
    pairs = []
    run = 1
    while run < n:
        apart = run
        while apart >= 1:
            for first in range(apart % run, n - apart, 2 * apart):
                for i in range(first, min(first + apart, n - apart)):
                    if i // (2 * run) == (i + apart) // (2 * run):
                        pairs.append((i, i + apart))
            apart //= 2
        run *= 2
    return pairs


def quartering_network(n: int) -> np.ndarray:
    """Return the pairs of `sorting_network` that put values into their quarter, not into an order within it, (m, 2) int64."""
    quarter, half = n // 4, n // 2
    bounds = np.array([quarter, half, n - half, n - quarter])
    # where each value ends, as far as nothing later compares it with one that ends elsewhere
    ends: list[int | None] = np.searchsorted(bounds, np.arange(n), side="right").tolist()
    kept = []
    for a, b in reversed(sorting_network(n)):
        if ends[a] is None or ends[a] != ends[b]:
            kept.append((a, b))
            ends[a] = ends[b] = None
    return np.array(kept[::-1], np.int64).reshape(-1, 2)


def middle(stack: np.ndarray, part: slice, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the interquartile mean of each pixel of a part of `stack`, (n, pixels), and its SD, by the mean deviation of its middle half.

    `pairs` is the `quartering_network` of n.
    """
    from nta.kernels.still import find_middle

    n = len(stack)
    quarter = n // 4
    # mean absolute deviation, SD, of the middle of a Gaussian
    edge = NormalDist().inv_cdf(1 - quarter / n) if quarter else np.inf
    inner = (n - 2 * quarter) / (2 * (NormalDist().pdf(0) - NormalDist().pdf(edge)) * n)
    mean, sd = np.empty((2, part.stop - part.start), np.float32)
    find_middle(stack, part.start, pairs, inner, mean, sd)
    return mean, sd


def _photon_noise(still: np.ndarray, noise: np.ndarray) -> float:
    """Return the slope of variance against level, 0 where it is not clear (the photon transfer curve; Janesick 2007).

    The level of a pixel is the median of its neighbours in every other row: its own mean is higher where its own noise is more, by chance
    alone where noise is skewed.
    """
    rows, columns = (n // NEIGHBOURS_PX for n in still.shape)
    levels, noises = (
        image[: rows * NEIGHBOURS_PX, : columns * NEIGHBOURS_PX].reshape(rows, NEIGHBOURS_PX, columns, NEIGHBOURS_PX).swapaxes(1, 2)
        for image in (still, noise)
    )
    each = (NEIGHBOURS_PX // 2) ** 2
    every = max(1, round((rows * columns * each / PIXELS) ** 0.5))
    variance = noises[::every, ::every, ::2, ::2].ravel().astype(float) ** 2
    level = np.repeat(_median(levels[::every, ::every, 1::2].reshape(-1, NEIGHBOURS_PX**2 // 2)), each)
    edge = np.quantile(level[:: max(1, len(level) // 4_000)], np.linspace(0.0, 1.0, LEVELS + 1))
    which = np.clip(np.searchsorted(edge, level, side="right") - 1, 0, LEVELS - 1)
    count = np.bincount(which, minlength=LEVELS)
    if count.min() < FEWEST_PIXELS or edge[-1] <= edge[0]:
        return 0.0
    # the middle of each: hot pixels and what particles passed are in the tails
    order, begin = np.argsort(which.astype(np.uint8), kind="stable"), np.append(0, np.cumsum(count))
    x, y = (np.array([np.median(of[order[a:b]]) for a, b in pairwise(begin)]) for of in (level, variance))
    (slope, _), ((slope_variance, _), _) = np.polyfit(x, y, 1, cov=True)
    return float(slope) if slope > SURE * np.sqrt(slope_variance) else 0.0


def _without_moving(still: np.ndarray, noise: np.ndarray, early: np.ndarray, late: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return still image and noise with the local level where something stands out that is elsewhere late in the video than early.

    A stuck thing is the same early and late, but for a factor where the light changes. Where nothing stands still, noise in time is that
    of the neighbourhood: a particle that lingers is no noise.
    """
    from scipy.ndimage import find_objects, label

    level = local_level(still, THINNED)
    excess = still - level
    sd = np.maximum(local_sd(excess, THINNED), noise / np.sqrt(n / 2))
    stands = _widened(_widened(np.abs(excess) > STANDS_OUT * np.maximum(sd, 1e-12)))
    regions, _ = label(stands, np.ones((3, 3)))
    early, late = early - local_level(early, THINNED), late - local_level(late, THINNED)
    usual = local_level(noise, THINNED)
    of_mean = usual**2 / (n / 6)  # variance of an interquartile mean of n / 3
    still = still.copy()
    for number, box in enumerate(find_objects(regions), start=1):
        inside = regions[box] == number
        a, b = early[box][inside].astype(float), late[box][inside].astype(float)
        chance = float(of_mean[box][inside].sum())
        of_early, of_late, shared = float(a @ a) - chance, float(b @ b) - chance, float(a @ b)
        weaker, stronger = sorted((of_early, of_late))
        # what no common factor between early and late explains: the smaller principal component of the pair
        apart = (of_early + of_late - float(np.hypot(of_early - of_late, 2 * shared))) / 2
        clear = stronger > 4 * chance
        if clear and (weaker < stronger / MOST_CHANGE**2 or apart > MOVED * weaker):
            still[box][inside] = level[box][inside]
            stands[box][inside] = False
    return still, np.where(stands, noise, usual)


def _widened(mask: np.ndarray) -> np.ndarray:
    """Return `mask` with the neighbours along both axes of what is in it."""
    wider = mask.copy()
    for one, next_one in ((wider[1:], mask[:-1]), (wider[:-1], mask[1:]), (wider[:, 1:], mask[:, :-1]), (wider[:, :-1], mask[:, 1:])):
        one |= next_one
    return wider


def local_level(image: np.ndarray, every: int = 1) -> np.ndarray:
    """Return the level of `image` around each pixel, (height, width) float32, without the particles.

    In each tile the mean of what lies within 3 robust SD of the median, of every `every`-th row and column, interpolated bilinearly
    between tile centres.
    """
    tiles, y_mid, x_mid = _tiles(image, LEVEL_TILE_PX, every)
    centre, spread = _level_and_sd(tiles[..., ::2])
    inside = np.abs(tiles - centre[..., None]) <= 3 * spread[..., None]
    level = np.where(inside, tiles, 0).sum(axis=-1) / np.maximum(inside.sum(axis=-1), 1)
    return interpolate(level, y_mid, x_mid, image.shape)


def local_sd(image: np.ndarray, every: int = 1) -> np.ndarray:
    """Return the robust SD of `image` around each pixel, (height, width) float32; a tile full of particles follows its neighbours.

    Of every `every`-th row and column.
    """
    from scipy.ndimage import median_filter

    tiles, y_mid, x_mid = _tiles(image, NOISE_TILE_PX, every)
    centre, spread = _level_and_sd(tiles)
    for _ in range(2):
        # particles widen the spread; what lies beyond 3 SD is theirs
        kept = np.where(np.abs(tiles - centre[..., None]) <= 3 * spread[..., None], tiles, np.nan)
        centre, spread = _level_and_sd(kept)
    return interpolate(median_filter(spread, size=3, mode="nearest"), y_mid, x_mid, image.shape)


def _tiles(image: np.ndarray, size_px: int, every: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut `image` into tiles of about `size_px`: (rows, columns, pixels), and the rows and columns of their centres.

    Of each tile every `every`-th row and column is given. Fewer than a tile's worth of pixels at the lower and right edges belong to no
    tile.
    """
    rows, columns = (max(1, round(n / size_px)) for n in image.shape)
    high, wide = image.shape[0] // rows, image.shape[1] // columns
    cut = image[: rows * high, : columns * wide].reshape(rows, high, columns, wide)[:, ::every, :, ::every]
    pixels = cut.swapaxes(1, 2).reshape(rows, columns, -1)
    return pixels, (np.arange(rows) + 0.5) * high - 0.5, (np.arange(columns) + 0.5) * wide - 0.5


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


def interpolate(grid: np.ndarray, y: np.ndarray, x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate `grid`, given at `y` and `x`, bilinearly to every pixel; constant beyond the outermost centres."""
    down, across = (shares(np.arange(n), middle) for n, middle in zip(shape, (y, x), strict=True))
    return down.astype(np.float32) @ (grid @ across.T).astype(np.float32)


def shares(at: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return the weights with which values at `middle` add up to that at each place, (places, values): linear, constant beyond the ends."""
    share = np.zeros((len(at), len(middle)))
    if len(middle) == 1:
        return share + 1.0
    at = np.clip(at, middle[0], middle[-1])
    before = np.clip(np.searchsorted(middle, at, side="right") - 1, 0, len(middle) - 2)
    after = (at - middle[before]) / np.diff(middle)[before]
    np.put_along_axis(share, before[:, None], (1 - after)[:, None], axis=1)
    np.put_along_axis(share, before[:, None] + 1, after[:, None], axis=1)
    return share
