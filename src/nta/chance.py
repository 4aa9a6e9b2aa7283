"""A video's noise -> Threshold: the signal-to-noise that noise alone exceeds as seldom as asked, counted on noise like the video's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nta.background import EACH
from nta.matched import Light, MatchedFilter, Seen, spread_of

LEAST = 3.0  # no lower threshold, whatever is asked for
BAND_PX = 96  # height of the strips in which noise is made: they and their filtered images stay in the processor's cache
AREA_PX = 3_000_000  # of noise looked at: its tail is then known to a fifth at 0.1 false spots a frame
SPREAD_OF = 40  # images of a strip, in which its noise is measured to 1 %
RIMS = 3  # of the rim's width that are left out along the edges, where there is room for it
LOW = 2.8  # where spots of noise are counted from: they are many, and their number already falls as that of high ones
TAIL, FEWEST = 5000, 50  # highest ones that the tail is taken from
LEAST_SKEW, MOST_SKEW = -0.1, 0.2  # tried: from noise that is cut off above to that of very few photons
BEYOND_SKEW = 0.01, 0.3  # by which the tail's k may differ from the noise's skewness: by itself, and as a share, since of its square


def photon_skew(per_grey: float, noise_grey: float, width_px: float) -> float:
    """Return the skewness of photon noise behind the filter: a pixel's, ``per_grey / noise``, times sum w^3 / (sum w^2)^(3/2)."""
    return per_grey / noise_grey * 2 / (3 * np.sqrt(np.pi) * width_px)


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
    light: Light,
    false_spots: float,
    most_skew: float = MOST_SKEW,
    each: EACH = map,
) -> float:
    """Return the signal-to-noise that spots of noise exceed `false_spots` times a frame.

    Noise of a camera is skewed (few photons, clipped at black), and differs from pixel to pixel. So each pixel is shown with its values
    of other times, particles left out, which takes all apart that is wider than a pixel; and what is found in that by the very search for
    spots is counted. `_tail` carries the number on to where few or none were seen.

    Parameters
    ----------
    seen : some frames
    hidden : (frames, height, width) uint8, where particles are
    relative : (rows, columns) float32, noise of the filtered image over that of its tile
    most_skew : of the filtered noise, that can be; what the video shows beyond is of particles nobody found
    each : runs the strips of the field, in order
    """
    from nta.kernels.fit import SNR, X, Y
    from nta.kernels.shuffle import shuffle, take_off

    height, width = matched.shape
    step, rim = matched.step, matched.rim_px
    gaussian = gaussian_threshold(false_spots, matched.area_px, matched.width_px)
    low = min(LOW, gaussian)
    # particles in the rim are not known, and their light reaches inwards
    above, left = (max(min(RIMS * rim, (n - 2 * BAND_PX) // 2), rim) for n in (height, width))
    tall = min(-(-BAND_PX // step) * step, height)
    images = max(1, round(AREA_PX / (height * width)))
    margin = tuple(slice(n // step, -(n // step) or None) for n in (rim, left))
    row_mid, col_mid = matched.row_mid * step + (step - 1) / 2, matched.col_mid * step + (step - 1) / 2

    def search(top: int) -> tuple[np.ndarray, float, float]:
        """Return heights of what is found in the noise of a strip, its area and skewness; none where a pixel has no noise at all."""
        strip = MatchedFilter(matched.width_px, np.zeros((tall, width), np.float32), 1)
        value = np.empty((len(seen), tall, width), np.float32)
        for k, one in enumerate(seen):
            take_off(one.frame, matched.still, float(matched.sign), one.level, row_mid, col_mid, top, value[k])
        noise = np.empty((images, tall, width), np.float32)
        within = np.ascontiguousarray(hidden[:, top : top + tall])
        shuffle(value.reshape(len(seen), -1), within.reshape(len(seen), -1), top + 1, noise.reshape(images, -1))
        spread = spread_of(strip, list(noise[:SPREAD_OF]))
        if not np.all(spread > 0):
            return np.empty(0), 0.0, 0.0
        sd = (strip.noise_to_grid(spread) * relative[top // step : top // step + strip.grid[0]]).astype(np.float32)
        found, cubes = [], []
        for image in noise:
            shown = strip.see(image, spread)
            found.append(strip.fit(shown, sd, low, light)[0])
            height_sd = ((shown.filtered - np.float32(np.mean(shown.level))) / sd)[margin]
            cubes.append(np.mean(height_sd * height_sd * height_sd))
        spots = np.concatenate(found)
        inside = (spots[:, X] >= left) & (spots[:, X] <= width - 1 - left)
        inside &= (spots[:, Y] + top >= above) & (spots[:, Y] + top <= height - 1 - above)
        high = max(min(top + tall - rim, height - above) - max(top + rim, above), 0)
        return spots[inside, SNR], float(images * high * (width - 2 * left)), float(np.mean(cubes))

    heights, areas, skews = zip(*each(search, range(0, height - tall + 1, tall)), strict=True)
    looked = sum(areas)
    if not looked:
        return gaussian
    # of as many independent values as there are correlation areas
    skew, skew_sd = float(np.average(skews, weights=areas)), np.sqrt(6 * 4 * np.pi * matched.width_px**2 / looked)
    skew_sd = np.hypot(skew_sd, BEYOND_SKEW[0] + BEYOND_SKEW[1] * abs(skew))
    return _tail(np.concatenate(heights), low, false_spots * looked / matched.area_px, most_skew, (skew, skew_sd))


def _tail(snr: np.ndarray, low: float, wanted: float, most_skew: float = MOST_SKEW, expected: tuple[float, float] = (0.0, np.inf)) -> float:
    """Return the height that `wanted` of the spots exceed.

    Above a level the number of maxima of a Gaussian field falls as ``u exp(-u^2 / 2)`` (Adler 1981, eq. 6.9.4), of a skewed one as
    ``u exp(-u^2 / 2 + k u^3 / 6)`` (the first term of Edgeworth's series in the exponent, k the skewness). The k that is most likely given
    the heights seen and what is `expected`, a mean and an SD, carries the number on to where few or none were seen.
    """
    heights = np.sort(snr)[::-1][:TAIL]
    if len(heights) < FEWEST or wanted >= len(heights):
        return low if wanted >= len(heights) else max(float(heights[int(wanted)]), LEAST)
    base = heights[-1]
    u = np.linspace(base, 3 * base, 4001)

    def rate(v: np.ndarray, k: float) -> np.ndarray:
        v = np.minimum(v, 1 / max(k, 1e-9))  # beyond its bend the cubic says nothing; the tail goes on as an exponential
        return np.asarray(v - 1 / v - k * v**2 / 2)

    def fallen(v: np.ndarray, k: float) -> np.ndarray:
        near = np.minimum(v, 1 / max(k, 1e-9))
        return np.asarray(near**2 / 2 - np.log(near) - k * near**3 / 6 + rate(v, k) * (v - near))

    def unlikely(k: float) -> float:
        fit = np.sum(np.log(rate(heights, k)) - (fallen(heights, k) - fallen(base, k)))
        return 0.5 * ((k - expected[0]) / expected[1]) ** 2 - float(fit)

    from scipy.optimize import minimize_scalar

    k = float(minimize_scalar(unlikely, bounds=(LEAST_SKEW, most_skew), method="bounded", options={"xatol": 1e-3}).x)
    return max(float(np.interp(np.log(len(heights) / wanted), fallen(u, k) - fallen(base, k), u)), LEAST)
