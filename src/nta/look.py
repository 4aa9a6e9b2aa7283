"""Video, Background -> Look: how its frames are searched; spot width, polarity, noise, gain and threshold, all told by the video."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nta.background import EACH, Background
from nta.chance import MOST_SKEW, count_threshold, gaussian_threshold, photon_skew
from nta.light import CLEAR_SNR, FEWEST_SPOTS, find_light, find_width_px, spots_for_width
from nta.matched import Light, MatchedFilter, Seen, find_rim_px, spread_of
from nta.settings import Settings
from nta.video import Video

WIDTHS_PX = (0.8, 1.1, 1.5, 2.0, 2.7, 3.6, 4.8)  # tried before refinement: factors of 4/3, over which a matched filter loses < 4 %
LOOKED_AT_PX, LOOKED_AT = 3_000_000, (8, 51)  # of frames looked at, as far as that many frames have them
FIRST, FEW, ENOUGH = (2, 4), 3, 60  # frames that tell width and polarity; spots in them that are no evidence, and that are enough
MASKED_SNR = 4.0  # of what is kept out of the noise: lower, and it would lose its own highest
COVER_WIDTHS, FAINT = 3.5, 0.1  # filter widths about a spot, at least; share of a point's noise to which its light has fallen
UNEVEN = 1.2  # a pixel is known to be noisier than its tile where it is by more; its noise in time is known to 5 % in the filter
ROUNDING_SD = 0.29  # grey levels
POINTED = 0.75  # filter widths; of the noise of few photons, what stands out is one pixel, but not by twice as much
NOISIER, MOST_REPEATS = 1.2, 8  # a frame's noise over that for which it was clipped, above which that is done again
EVEN_SKEW, SURER = 0.02, 1.3  # skewness of noise that has none, as far as can be told; by how much more than the measured gain says


@dataclass(frozen=True)
class Look:
    """How a frame is searched.

    Attributes
    ----------
    matched : the filter, of the spots' width
    threshold : signal-to-noise from which on a maximum is a spot
    spread : (tile rows, tile columns) float32, noise of the filtered image in each tile
    relative : (rows, columns) float32, noise of each point of the filter's grid over that of its tile, where pixels are noisier; else 1
    noise : (rows, columns) float32, the two together
    light : what spots are like beyond their width
    ceiling : least ``sign * grey`` of a saturated pixel; infinite where none can be told
    lifted, widened : what the flanks of particles, which no clipping takes, add to the level that is told of a frame, in `spread`, and
         by how much they multiply the variance
    """

    matched: MatchedFilter
    threshold: float
    spread: np.ndarray
    relative: np.ndarray
    noise: np.ndarray
    light: Light
    ceiling: float
    lifted: float = 0.0
    widened: float = 1.0

    def see(self, frame: np.ndarray) -> Seen:
        """Return a frame through the filter; of one that is much noisier than usual, what is clipped is looked at again."""
        filtered, level, variance, ratio = self.matched.filter_and_level(frame, self.spread)
        before, factor = 1.0, self._factor(ratio)
        for _ in range(MOST_REPEATS):
            if factor < NOISIER * before:
                break
            level, variance, ratio = self.matched.levels(filtered, self.spread * np.float32(factor))
            before, factor = factor, self._factor(ratio * factor**2)
        return Seen(frame, filtered, level - self._lift, variance, factor)

    def _factor(self, ratio: float) -> float:
        """Return by how much a frame is noisier than usual, as far as that is more than chance; `ratio` is that of the tiles' variances."""
        off = ratio / self.widened - 1.0
        return math.sqrt(max(1.0 + off * off**2 / (off**2 + self._chance), 0.01))

    @functools.cached_property
    def _lift(self) -> np.ndarray:
        """What is to be taken off the level of each tile."""
        return self.lifted * self.spread

    @functools.cached_property
    def _chance(self) -> float:
        """Variance of the median of the tiles' variances over a frame's."""
        # of n tiles, each known to the variance of its n / (4 pi s^2) independent points
        points = self.matched.shape[0] * self.matched.shape[1] / (4 * np.pi * self.matched.width_px**2)
        return 1.57 * 2.0 / points

    def at_noise(self, spread: np.ndarray) -> Look:
        """Return how to search at another noise of the tiles."""
        return replace(self, spread=spread, noise=self.matched.noise_to_grid(spread) * self.relative)

    def fit(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """Return the frame's spots, as `MatchedFilter.fit`."""
        return self.matched.fit(seen, self.noise, self.threshold, self.light, self.ceiling)

    def spots_and_tells(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a frame's spots, as `fit`."""
        return self.fit(self.see(frame))


def choose_look(video: Video, background: Background, settings: Settings, each: EACH = map) -> Look:
    """Measure how to search a video on frames spread evenly over it.

    Width and polarity are those with the largest sum of squared signal-to-noise, the evidence a filter finds; the width is refined by the
    spots' own. Noise is that between the spots. The threshold is counted (`chance.count_threshold`) where the still background is known.
    `each` is `map`, or that of a pool of threads.
    """
    few = int(np.clip(LOOKED_AT_PX // (video.height * video.width), *LOOKED_AT))
    numbers = background.sampled[np.unique(np.linspace(0, len(background.sampled) - 1, few).astype(int))]
    images = list(each(video.read, numbers.tolist()))
    first = images[:: max(1, len(images) // FIRST[1])][: FIRST[1]]
    # floating-point pixels have no step; some floor is needed where a region is exactly flat
    quantum = 1.0 if np.issubdtype(images[0].dtype, np.integer) else 1e-4 * max(float(np.ptp(images[0])), 1e-30)
    sign, width, looked = _choose_width(first, background, settings, quantum, each)
    first = first[: max(looked, FIRST[0])]
    for _ in range(4):
        look = _with_noise(_look(video, background, sign, width), first, background, quantum, each)
        (spots, tells), shown = _all_of(each(look.spots_and_tells, first)), first
        if len(spots) < FEWEST_SPOTS:
            (spots, tells), shown = _all_of(each(look.spots_and_tells, images)), images
        if len(spots) < FEWEST_SPOTS:
            break
        refined = find_width_px(spots)
        done = abs(refined / width - 1) < 0.02
        width = refined
        if done:
            break
    if FEWEST_SPOTS <= len(spots) < (wanted := spots_for_width(spots)):
        # those few settle the filter, on which a spot's own width hardly depends; to know it takes more, and the noise of their light
        look = replace(look, light=Light(_light_of((spots, tells), look, background).per_grey))
        more = images[:: max(1, math.floor(len(images) * len(spots) / (len(shown) * wanted)))]
        width = find_width_px(_all_of(each(look.spots_and_tells, more))[0])
    asked = settings.spots.false_spots_per_frame
    # a frame that is much noisier is no example
    factors = list(each(lambda image: look.see(image).factor, images))
    images = [image for image, factor in zip(images, factors, strict=True) if factor < NOISIER] or images
    look = _with_noise(_look(video, background, sign, width), first, background, quantum, each)
    look = replace(look, threshold=MASKED_SNR)
    look, found = _with_noise_between(look, images, quantum, each)
    look = replace(look, light=_light_of(_all_of(found), look, background))
    # what residuals tell depends on the noise that the fit took for granted
    single = replace(look, light=replace(look.light, stretch=np.inf))
    look = replace(look, light=_light_of(_all_of(each(single.spots_and_tells, images)), look, background))
    if len(background.noise):
        # of variance 1 - 0.8 / n where a frame is in the still background, which the noise was taken from, and 1 + 1.2 / n where not
        n = len(background.sampled)
        fresh = np.float32(1 + (1 - n / video.n_frames) / n)
        look = look.at_noise(look.spread * fresh)
    look = replace(look, threshold=gaussian_threshold(asked, look.matched.area_px, width))
    if len(background.noise) == 0 or not np.any(look.spread > _rounding_sd(look.matched, quantum) * 1.01):
        return look
    return replace(look, threshold=_counted(look, background, images, [spots for spots, _ in found], asked, each))


def _look(video: Video, background: Background, sign: int, width_px: float) -> Look:
    """Return a first look, at spots that nobody doubts, before anything but sign and width is known."""
    matched = MatchedFilter(width_px, background.still, sign)
    ceiling = math.inf if video.ceiling is None else (video.ceiling if sign > 0 else 0.0) - 0.5
    even = np.ones(matched.grid, np.float32)
    return Look(matched, CLEAR_SNR, np.ones(matched.tiles, np.float32), even, even, Light(), ceiling)


def _rounding_sd(matched: MatchedFilter, quantum: float) -> float:
    """Return the noise of a filtered frame that the step between two grey levels makes, the least there is."""
    return quantum * ROUNDING_SD * matched.noise_gain


def _choose_width(
    images: Sequence[np.ndarray], background: Background, settings: Settings, quantum: float, each: EACH
) -> tuple[int, float, int]:
    """Return sign and width of the filter that finds the most evidence, and the number of images that it took to tell.

    Bright and 1.5 px where there is no evidence.
    """
    signs = {"bright": (1,), "dark": (-1,)}.get(settings.video.polarity or "", (1, -1))
    from nta.kernels.fit import SNR, WIDTH

    def prepared(width_px: float) -> tuple[MatchedFilter, np.ndarray]:
        matched = MatchedFilter(width_px, background.still, 1)
        return matched, np.maximum(spread_of(matched, images[:1]), _rounding_sd(matched, quantum))

    pairs = list(each(prepared, [width for width in WIDTHS_PX if min(background.still.shape) > 2 * find_rim_px(width)]))

    def evidence(task: tuple[np.ndarray, MatchedFilter, np.ndarray]) -> list[np.ndarray]:
        """Return the signal-to-noise of the spots of each sign in an image through a filter."""
        image, matched, spread = task
        seen, noise = matched.see(image, spread), matched.to_grid(spread)
        found = []
        for sign in signs:
            facing, turned = (matched, seen) if sign > 0 else (matched.turned(), seen.turned())
            spots, _ = facing.fit(turned, noise, CLEAR_SNR, Light())
            sure = (spots[:, WIDTH] > POINTED * matched.width_px) | (spots[:, SNR] > 2 * CLEAR_SNR)
            found.append(spots[sure, SNR])
        return found

    score, number = np.zeros((2, len(pairs), len(signs)))
    for looked, image in enumerate(images if pairs else (), start=1):
        found = list(each(evidence, [(image, *pair) for pair in pairs]))
        score += [[np.sum(snr**2) for snr in of_signs] for of_signs in found]
        number += [[len(snr) for snr in of_signs] for of_signs in found]
        width, sign = np.unravel_index(np.argmax(score), score.shape)
        if number[width, sign] >= (ENOUGH if looked < len(images) else FEW):
            return signs[sign], pairs[width][0].width_px, looked
    return signs[0], 1.5, len(images)


def _light_of(fits: tuple[np.ndarray, np.ndarray], look: Look, background: Background) -> Light:
    """Measure what spots are like on fits of single ones."""
    return find_light(*fits, float(np.median(look.spread)) / look.matched.noise_gain, look.light, background.per_grey)


def _all_of(fits: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return spots of all images, and what tells their light."""
    spots, tells = zip(*fits, strict=True)
    return np.concatenate(spots), np.concatenate(tells)


def _with_noise(look: Look, images: Sequence[np.ndarray], background: Background, quantum: float, each: EACH) -> Look:
    """Measure the noise with particles clipped: of each tile, and at each point of the grid."""
    matched = look.matched
    spread, relative = each(lambda job: job(), (lambda: spread_of(matched, images), lambda: _relative(look, background)))
    return replace(look, relative=relative).at_noise(np.maximum(spread, _rounding_sd(matched, quantum)))


def _with_noise_between(
    look: Look, images: Sequence[np.ndarray], quantum: float, each: EACH
) -> tuple[Look, list[tuple[np.ndarray, np.ndarray]]]:
    """Measure the noise again, now between the spots that are found; return what is found in each image, too."""
    matched = look.matched
    even = look.relative < UNEVEN
    # particles in the rim are not known
    rim = min(2 * matched.rim_px // matched.step, min(matched.grid) // 4)
    even[:rim] = even[len(even) - rim :] = False
    even[:, :rim] = even[:, even.shape[1] - rim :] = False

    def between(image: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray, float, np.ndarray]:
        seen = look.see(image)
        found = look.fit(seen)
        value = seen.filtered - matched.to_grid(seen.level)
        free = even & ~_covered(found[0], matched.grid, matched.step, look, filtered=True) & (np.abs(value) <= 4.0 * look.noise)
        off = float(value[free].mean()) if free.any() else 0.0
        return found, _by_tile(value**2 * free, matched), _by_tile(free.astype(np.float32), matched), off, seen.variance

    found, squares, counts, off, variances = zip(*each(between, images), strict=True)
    count = np.sum(counts, axis=0)
    enough = count > 0.1 * len(images) * np.outer(np.diff(matched.row_edge), np.diff(matched.col_edge))
    spread = np.where(enough, np.sqrt(np.sum(squares, axis=0) / np.maximum(count, 1)), look.spread)
    spread = np.maximum(spread, _rounding_sd(matched, quantum)).astype(np.float32)
    usual = look.at_noise(spread)
    told = enough & (spread > 0)
    if not told.any():
        return usual, list(found)
    sd = spread[told].astype(float)
    widened = max(float(np.median(np.array(variances)[:, told] / sd**2)), 1.0)
    return replace(usual, lifted=max(-float(np.median(np.array(off)) / np.median(sd)), 0.0), widened=widened), list(found)


def _by_tile(image: np.ndarray, matched: MatchedFilter) -> np.ndarray:
    """Return the sum over each tile, (tile rows, tile columns)."""
    return np.add.reduceat(np.add.reduceat(image, matched.row_edge[:-1], axis=0), matched.col_edge[:-1], axis=1)


def _relative(look: Look, background: Background) -> np.ndarray:
    """Return the noise of each point of the grid over its tile's, where hot or lit pixels are; 1 elsewhere, (rows, columns) float32."""
    matched = look.matched
    if len(background.noise) == 0:
        return np.ones(matched.grid, np.float32)
    variance = matched.plain().filter(background.noise**2, power=2)
    spread = np.full(matched.tiles, 0.1 * max(float(np.median(variance)), 1e-30), np.float32)
    level, _, _ = matched.levels(variance, spread)
    ratio = np.sqrt(variance / np.maximum(matched.to_grid(level), 1e-30))
    return np.where(ratio > UNEVEN, ratio, 1.0).astype(np.float32)


def _covered(spots: np.ndarray, shape: tuple[int, int], step: int, look: Look, *, filtered: bool) -> np.ndarray:
    """Return which points of a grid of `step` px a spot lights by more than a tenth of their noise, along each axis.

    Of a filtered frame, in which spots are wider, or of the frame itself.
    """
    from nta.kernels.fit import PEAK, SNR, WIDTH

    if filtered:
        wide, over = np.hypot(spots[:, WIDTH], look.matched.width_px), spots[:, SNR]
    else:
        wide, over = spots[:, WIDTH], spots[:, PEAK] * look.matched.noise_gain / float(np.median(look.spread))
    reach = wide * np.sqrt(2 * np.log(np.maximum(over / FAINT, np.e)))
    reach = np.maximum(reach, COVER_WIDTHS * look.matched.width_px)[:, None]
    covered = np.zeros(shape, bool)
    low = np.maximum(np.ceil((spots[:, :2] - reach) / step), 0).astype(int)
    high = np.floor((spots[:, :2] + reach) / step).astype(int) + 1
    for (left, top), (right, bottom) in zip(low, high, strict=True):
        covered[top:bottom, left:right] = True
    return covered


def _counted(
    look: Look, background: Background, images: Sequence[np.ndarray], found: Sequence[np.ndarray], false_spots: float, each: EACH
) -> float:
    """Return the threshold that noise like the video's exceeds as often as asked."""
    matched = look.matched
    hidden = np.stack([_covered(spots, matched.shape, 1, look, filtered=False) for spots in found]).view(np.uint8)
    # photon noise is skewed towards the light, away from dark particles
    most_skew = EVEN_SKEW if matched.sign < 0 else MOST_SKEW
    if matched.sign > 0 and look.light.per_grey > 0:
        noise_grey = float(np.median(look.spread)) / matched.noise_gain
        most_skew = min(most_skew, SURER * photon_skew(look.light.per_grey, noise_grey, matched.width_px) + EVEN_SKEW)
    seen = list(each(look.see, images))
    return count_threshold(matched, seen, hidden, look.relative, background, look.light, false_spots, most_skew, MASKED_SNR, each)
