"""A video's noise -> Threshold: the signal-to-noise that noise alone exceeds as seldom as asked, counted on noise like the video's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nta.background import EACH, Background
from nta.matched import Light, MatchedFilter, Seen, spread_of

LEAST = 3.0  # no lower threshold, whatever is asked for
BAND_PX = 96  # greatest height of the strips in which noise is made: they and their filtered images stay in the processor's cache
AREA_PX = 1_500_000  # of noise looked at: the last height that is carried on is then one to two units below the threshold
SPREAD_OF = 6  # images of a strip, in which its noise is guessed to 2 %, before all tell it
SKEW_EVERY = 4  # of the images, whose pixels tell skewness to 0.005
RIMS = 3  # of the rim's width that are left out along the edges, where there is room for it
TAIL, FEWEST = 1000, 50  # highest ones that are carried on, known to 3 %, and fewest; of 1000, few are of particles nobody found
SURE = 3.0  # SD of a count, beyond which it is not by chance
LEAST_SKEW, MOST_SKEW = -0.1, 0.2  # of the filtered noise: from what is cut off above to very few photons
FAR = 5.0  # SD of the filtered noise, beyond which it has no share in its variance, but what is no noise may
OUTLIER = 8.0  # SD of a pixel; more is no noise, and a spot of one pixel is none
PHOTONS = 0.5, 1.0  # share of the noise that the skewed part may have: read noise as much as photons', and photons alone
EVEN = 1.2  # of the usual noise: pixels with more are hot or lit, and noise of their own is no example of the others'
TILTS = np.linspace(1.5, 12.0, 169)  # over which the tail is followed; of Gaussian noise, heights


def photon_skew(per_grey: float, noise_grey: float, width_px: float) -> float:
    """Return the skewness of photon noise behind the filter; that of a pixel is ``per_grey / noise``."""
    return per_grey / noise_grey * filtered_skew(width_px)


def filtered_skew(width_px: float) -> float:
    """Return the skewness of noise behind the filter over that of its pixels, ``sum w^3 / (sum w^2)^(3/2)`` of a Gaussian."""
    return 2 / (3 * np.sqrt(np.pi) * width_px)


def gaussian_threshold(false_spots: float, area_px: float, width_px: float) -> float:
    """Return the signal-to-noise above which Gaussian noise of `area_px`, seen through the filter, has `false_spots` maxima.

    Expected maxima above a level u of a smooth Gaussian field, per correlation area: Adler 1981, eq. 6.9.4 (Euler characteristic),
    ``N = area / (2 s^2) (2 pi)^(-3/2) u exp(-u^2 / 2)``. Never below 3.
    """
    cells = area_px / (2 * width_px**2) / (2 * np.pi) ** 1.5
    u = 6.0
    for _ in range(50):
        u = np.sqrt(2 * max(np.log(cells * u / false_spots), LEAST**2 / 2))
    return float(u)


def count_threshold(
    matched: MatchedFilter,
    seen: Sequence[Seen],
    hidden: np.ndarray,
    relative: np.ndarray,
    background: Background,
    light: Light,
    false_spots: float,
    most_skew: float = MOST_SKEW,
    masked_snr: float = np.inf,
    each: EACH = map,
) -> float:
    """Return the signal-to-noise that spots of noise exceed `false_spots` times a frame.

    Noise of a camera is skewed (few photons, clipped at black), and differs from pixel to pixel. So each pixel is shown with its values
    of other times, particles left out, which takes all apart that is wider than a pixel; and what is found in that by the very search for
    spots is counted. `_tail` carries the number on to where few or none were seen.

    Parameters
    ----------
    seen : some frames, of those that the background is of
    hidden : (frames, height, width) uint8, where particles are
    relative : (rows, columns) float32, noise of the filtered image over that of its tile
    most_skew : of the filtered noise, that can be; what the video shows beyond is of particles nobody found
    masked_snr : signal-to-noise of what was left out when the noise was measured that spots are held against
    each : runs the strips of the field, in order
    """
    from nta.kernels.fit import SNR, X, Y
    from nta.kernels.shuffle import shuffle, take_off

    height, width = matched.shape
    step, rim = matched.step, matched.rim_px
    gaussian = gaussian_threshold(false_spots, matched.area_px, matched.width_px)
    low = min(gaussian_threshold(TAIL, AREA_PX, matched.width_px), gaussian)
    # particles in the rim are not known, and their light reaches inwards
    above, left = (max(min(RIMS * rim, (n - 2 * BAND_PX) // 2), rim) for n in (height, width))
    # an even number of strips, for two threads
    strips = 2 * -(-height // (2 * BAND_PX)) if height >= 2 * BAND_PX else 1
    tall = height // strips // step * step if strips > 1 else height
    images = max(1, round(AREA_PX / (height * width)))
    margin = tuple(slice(n // step, -(n // step) or None) for n in (rim, left))
    row_mid, col_mid = matched.row_mid * step + (step - 1) / 2, matched.col_mid * step + (step - 1) / 2
    edge, own = background.own_share()
    strip = MatchedFilter(matched.width_px, np.zeros((tall, width), np.float32), 1)

    def search(top: int) -> tuple[np.ndarray, float, np.ndarray]:
        """Return heights of what is found in the noise of a strip, its area, and sums of its pixels' powers; none if some have no noise."""
        value = np.empty((len(seen), tall, width), np.float32)
        for k, one in enumerate(seen):
            take_off(one.frame, matched.still, float(matched.sign), one.level, row_mid, col_mid, top, edge, own, value[k])
        noise = np.empty((images, tall, width), np.float32)
        within = np.ascontiguousarray(hidden[:, top : top + tall])
        shuffle(value.reshape(len(seen), -1), within.reshape(len(seen), -1), top + 1, noise.reshape(images, -1))
        spread = spread_of(strip, list(noise[:SPREAD_OF]))
        if not np.all(spread > 0):
            return np.empty(0), 0.0, np.zeros(5)
        usual = strip.noise_to_grid(spread)
        sd = (usual * relative[top // step : top // step + strip.grid[0]]).astype(np.float32)
        found, squares = [], []
        for image in noise:
            shown = strip.see(image, spread)
            found.append(strip.fit(shown, sd, low, light)[0])
            square = ((shown.filtered - strip.to_grid(shown.level)) / sd)[margin] ** 2
            squares.append(np.mean(square[square < FAR**2]))
        spots = np.concatenate(found)
        inside = (spots[:, X] >= left) & (spots[:, X] <= width - 1 - left)
        inside &= (spots[:, Y] + top >= above) & (spots[:, Y] + top <= height - 1 - above)
        high = max(min(top + tall - rim, height - above) - max(top + rim, above), 0)
        # noise of a tile by clipping, and the median over images, is half a percent too little
        heights = spots[inside, SNR] / np.sqrt(np.mean(squares))
        pixel_sd = np.repeat(np.repeat(usual, step, axis=0), step, axis=1)[:tall, :width] / strip.noise_gain
        even = background.noise[top : top + tall] < EVEN * pixel_sd
        part = np.s_[rim : tall - rim, left : width - left]
        return heights, float(images * high * (width - 2 * left)), _powers(noise[(np.s_[::SKEW_EVERY], *part)], pixel_sd[part], even[part])

    heights, areas, powers = zip(*each(search, range(0, height - tall + 1, tall)), strict=True)
    looked = sum(areas)
    if not looked:
        return gaussian
    skew, kurtosis = _skew_and_kurtosis(np.sum(powers, axis=0))
    behind = filtered_skew(matched.width_px)
    skew = float(np.clip(skew, LEAST_SKEW / behind, most_skew / behind))
    snr = np.concatenate(heights)
    wanted = false_spots * looked / matched.area_px
    told = _tail(snr, low, wanted, matched.width_px, skew, kurtosis)
    # where the noise was measured, maxima that high were left out: of each a Gaussian of sqrt(2) times the filter's width, over the noise
    squares = float(np.sum(snr[(snr > masked_snr) & (snr < told)] ** 2 - 1)) + (wanted * (told**2 + 1) if told > masked_snr else 0.0)
    return told * (1 + squares * np.pi * matched.width_px**2 / looked)


def _powers(noise: np.ndarray, sd: np.ndarray, even: np.ndarray) -> np.ndarray:
    """Return the number of values of pixels that are `even`, and the sums of their powers, one to four, over their SD; (5,)."""
    value = np.clip(noise * np.where(even, 1 / sd, 0).astype(np.float32), -OUTLIER, OUTLIER).ravel()
    square = value * value
    return np.array([len(noise) * np.count_nonzero(even), np.sum(value), np.sum(square), square @ value, square @ square], float)


def _skew_and_kurtosis(powers: np.ndarray) -> tuple[float, float]:
    """Return skewness and excess kurtosis of what has these sums of `_powers`; none where there is nothing."""
    if not powers[0] or not powers[2]:
        return 0.0, 0.0
    first, second, third, fourth = powers[1:] / powers[0]
    variance = second - first**2
    skew = (third - 3 * first * second + 2 * first**3) / variance**1.5
    return float(skew), float((fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2 - 3)


def _fallen(width_px: float, skew: float, kurtosis: float) -> tuple[np.ndarray, np.ndarray]:
    """Return heights, and the logarithm of the number of maxima above each, but for a constant; at `TILTS`.

    Of noise of independent pixels of a `skew` and `kurtosis` through a Gaussian filter, by the saddle point (Daniels 1954). Pixels are
    photons of one size and normal noise, of cumulants ``K(t) = t^2 / 2 + f (exp(b t) - 1 - b t - (b t)^2 / 2) / b^2``. Tilted by theta,
    the pixel of weight w has the mean ``K'(theta w)`` and variance ``K''(theta w)``: their sum has the density at its mean u
    ``exp(sum K - theta u) / sqrt(2 pi V)``, its slopes that at zero ``1 / (2 pi G)``, and its two curvatures the means D. Maxima above u
    are then ``D^2 / (theta G sqrt(V)) exp(sum K - theta u)``, of Gaussian noise ``u exp(-u^2 / 2)``.
    """
    reach = np.arange(-np.ceil(3 * width_px), np.ceil(3 * width_px) + 1) / width_px
    x, y = (of.ravel() for of in np.meshgrid(reach, reach))
    weight = np.exp(-(x**2 + y**2) / 2)
    weight /= np.sqrt(np.sum(weight**2))
    t = np.outer(TILTS, weight)
    size = float(np.clip(kurtosis / skew, *np.sort(skew / np.array(PHOTONS)))) if abs(skew) > 1e-4 else 1e-4
    photons = skew / size
    more = np.expm1(size * t)
    total = np.sum(t**2 / 2 + photons * (more - size * t - (size * t) ** 2 / 2) / size**2, axis=1)
    mean, variance = t + photons * (more - size * t) / size, 1 + photons * more
    u = mean @ weight
    slope, curvature = variance @ (x * weight) ** 2, mean @ (weight * (1 - x**2))
    return u, total - TILTS * u + 2 * np.log(curvature) - np.log(TILTS * slope) - 0.5 * np.log(variance @ weight**2)


def _tail(snr: np.ndarray, low: float, wanted: float, width_px: float, skew: float = 0.0, kurtosis: float = 0.0) -> float:
    """Return the height that `wanted` of the spots exceed: counted as far as there are enough, and carried on from there by `_fallen`.

    `skew` and `kurtosis` are of the pixels. If those are not of noise alone, what was counted speaks against the height told, which
    is kept to where as many were seen as chance allows.
    """
    heights = np.sort(snr)[::-1]
    if wanted >= len(heights):
        return low
    if len(heights) < FEWEST or wanted >= TAIL:
        return max(float(heights[int(wanted)]), LEAST)
    n = min(len(heights), TAIL)

    def told(skew: float, kurtosis: float) -> float:
        u, number = _fallen(width_px, skew, kurtosis)
        aim = np.interp(heights[n - 1], u, number) + np.log(wanted / n)
        return float(np.interp(-aim, -number, u))

    chance = SURE * np.sqrt(wanted) + SURE
    # high ones may be of particles that nobody found: they raise it to what normal noise would have, at most
    least = min(float(heights[min(int(wanted + chance), len(heights) - 1)]), told(0.0, 0.0))
    most = float(heights[int(wanted - chance)]) if wanted > chance else np.inf
    return max(float(np.clip(told(skew, kurtosis), least, most)), LEAST)
