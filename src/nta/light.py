"""Fitted spots -> what the video's spots are like: their usual width, gain, misfit, stretch, scatter of widths."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from nta.background import MAD_TO_SD
from nta.matched import Light

CLEAR_SNR = 6.0  # of spots of which nobody doubts that they are some
SLACK = 1.2  # of the variance of a stretch: what neighbours add to noise is no stretch
UNLIKE = 2.0  # by how much more than the usual one the smallest particles are smeared
FEWEST_SPOTS = 10  # whose widths are worth a median
WIDTH_RANGE_PX = 0.6, 8.0  # of what can be a spot's
SURE_WIDTH = 0.01  # to which the usual width is to be known, of it: the errors that are told of dim spots go as its square
MEDIAN_SD = 1.25  # standard error of a median over that of a mean
SURE = 3.0  # standard errors by which the brighter spots' own noise must be more than the dimmer ones', to be misfit


def find_width_px(spots: np.ndarray) -> float:
    """Return the median width of spots, px: of each, the root of its squared width and squared error of place.

    A fit follows the noise, and about where it ends a spot is narrower than about where it is: by ``1 / SNR^2`` of its width (the
    bias of least squares to second order, Box 1971), which is the squared error of x over twice the squared width.
    """
    from nta.kernels.fit import WIDTH, X_SD

    return float(np.clip(np.median(np.hypot(spots[:, WIDTH], spots[:, X_SD])), *WIDTH_RANGE_PX))


def spots_for_width(spots: np.ndarray) -> float:
    """Return how many spots it takes to know their median width to `SURE_WIDTH`, by how they scatter."""
    from nta.kernels.fit import WIDTH

    return (MEDIAN_SD * _scatter(np.log(spots[:, WIDTH])) / SURE_WIDTH) ** 2


def _scatter(values: np.ndarray) -> float:
    """Return the SD of values by their median absolute deviation."""
    return MAD_TO_SD * float(np.median(np.abs(values - np.median(values))))


def find_light(spots: np.ndarray, tells: np.ndarray, noise: float, before: Light, per_grey: float) -> Light:
    """Measure gain, misfit, stretch and scatter of the widths from fits of single spots.

    The gain is that of the background (photon transfer) where that tells, if the spots are not quieter. Otherwise it is the spots': all of
    their own noise but what rises with their height, as misfit does, if that is clear. Stretch along each of two axes is taken for
    normal: its square is exponential, and its SD is read from the median, in which what is two has no say.

    Parameters
    ----------
    spots, tells : as `MatchedFilter.fit` returns them
    noise : SD of a pixel without spots, grey levels
    before : what the fits took for granted
    per_grey : variance that light of one grey level adds, by the background; 0 where that does not tell
    """
    from nta.kernels.doubles import STRETCHED
    from nta.kernels.fit import LIGHT, MISFITS, SATURATED, SNR, STRETCH, TELLS_STRETCH, WIDTH

    clear = (spots[:, SATURATED] == 0) & (tells[:, LIGHT] > 0) & (spots[:, SNR] > CLEAR_SNR) & (spots[:, TELLS_STRETCH] > 0)
    if clear.sum() < FEWEST_SPOTS:
        return replace(before, per_grey=per_grey, stretch=0.0)
    spots, tells = spots[clear], tells[clear]
    square, information = spots[:, STRETCH] ** 2, spots[:, TELLS_STRETCH]
    bright = spots[:, SNR] >= np.median(spots[:, SNR])
    low, high = 0.0, 1.0
    for _ in range(8):
        s = 0.5 * (low + high)
        low, high = (low, s) if np.median(square / (2 * (s**2 + SLACK / information))) <= np.log(2) else (s, high)
    stretch = UNLIKE * high if low > 0 else 0.0
    scatter = _scatter(np.log(spots[bright, WIDTH]))
    # what is two has more about it than noise
    one = square * information <= STRETCHED * (1 + stretch**2 * information)
    spots, tells, bright = spots[one], tells[one], bright[one]
    own = _own_noise(spots, tells, noise, before.width_sd)
    height = tells[:, MISFITS] / tells[:, LIGHT]
    if per_grey > 0:
        per_grey = min(per_grey, float(np.median(own)))
        misfit2 = np.median((own - per_grey)[bright] / height[bright])
    else:
        rise, higher = (float(np.median(of[bright]) - np.median(of[~bright])) for of in (own, height))
        chance = MEDIAN_SD * math.sqrt(sum(_scatter(of) ** 2 / len(of) for of in (own[bright], own[~bright])))
        # no more than leaves a gain that is none
        misfit2 = min(rise / higher, float(np.median((own / height)[bright]))) if rise > SURE * chance else 0.0
        per_grey = float(np.median(own)) - misfit2 * float(np.median(height))
    per_grey = max(per_grey, 0.0)
    return Light(per_grey, float(np.sqrt(np.clip(misfit2, 0.002**2, 1.0))), stretch, float(np.clip(scatter, 0.1, 0.5)))


def _own_noise(spots: np.ndarray, tells: np.ndarray, noise: float, width_sd: float) -> np.ndarray:
    """Return the variance that each spot's light adds, per grey level, by the residuals of its fit; their median is to be used.

    Residuals r are weighted by the model m, whose sums over pixels are, for height h and width s, ``sum m = 2 pi s^2 h`` and ``sum m^2 =
    pi s^2 h^2``: ``sum m r^2 = noise^2 sum m + per_grey sum m^2``, less what the fitted parameters took, ``noise^2 (42 + 10 q) / 27 h +
    per_grey (15 + 5 q) / 27 h^2`` where either noise stands alone, q the share of the width that is not the prior's. The sum is nearly a
    chi-square of n degrees of freedom, ``2 / n`` its relative variance, whose median is its mean times ``(1 - 2 / (9 n))^3`` (Wilson &
    Hilferty 1931).
    """
    from nta.kernels.fit import EXCESS, LIGHT, MISFITS, PEAK, WIDTH, X_SD

    height, width2 = spots[:, PEAK], spots[:, WIDTH] ** 2
    information = 2 * width2 / spots[:, X_SD] ** 2
    free = information / (information + 1 / width_sd**2)
    flat = noise**2 * 2 * np.pi * width2 * height
    seen = tells[:, EXCESS] + flat
    flat -= noise**2 * height * (42 + 10 * free) / 27
    light = tells[:, LIGHT] - height**2 * (15 + 5 * free) / 27
    own = (seen - flat) / light
    for _ in range(2):
        gain = max(float(np.median(own)), 0.0)
        # sum (m v)^2, v a pixel's variance: half the variance of what is seen
        half = noise**4 * tells[:, LIGHT] + 2 * noise**2 * gain * tells[:, MISFITS] + gain**2 * np.pi / 2 * width2 * height**4
        own = (seen / (1 - 2 * half / (9 * (flat + gain * light) ** 2)) ** 3 - flat) / light
    return np.asarray(own)
