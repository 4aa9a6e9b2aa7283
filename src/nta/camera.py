"""Light -> grey levels: shot noise, read noise, hot pixels, saturation."""

from __future__ import annotations

import functools
import math

import numpy as np

from nta.recipe import Recipe

TABLE_END = 1024  # electrons; larger means are drawn by rejection
_STRIPS = 128
_TAIL, _AREA = 3.442619855899, 9.91256303526217e-3  # of 128 strips; Marsaglia & Tsang 2000


@functools.cache
def poisson_tables() -> tuple[np.ndarray, ...]:
    """Return the tables that `kernels.camera.count_electrons` draws from: fine, its guide, coarse, its guide, its first numbers."""
    fine, fine_guide, _ = _cumulative(np.arange(256) / 16)
    coarse, coarse_guide, first = _cumulative(16.0 * np.arange(TABLE_END // 16))
    return fine, fine_guide.astype(np.uint8), coarse, coarse_guide, first


def _cumulative(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cumulative Poisson distributions, a row a mean, where to begin to look in each, and the numbers of their first columns.

    Rows reach from 9 standard deviations below the mean to 9 and 20 above: beyond, the chance is below 1e-16.
    """
    from scipy.special import pdtr

    sd = np.sqrt(mean)
    first = np.maximum(np.floor(mean - 9 * sd), 0.0)
    count = first[:, None] + np.arange(math.ceil(np.max(mean + 9 * sd + 20 - first)))
    cumulative = np.ascontiguousarray(pdtr(count, mean[:, None]))
    cumulative[:, -1] = 1.0
    guide = np.stack([np.searchsorted(row, np.arange(256) / 256, side="right") for row in cumulative])
    return cumulative, guide.astype(np.uint16), first


@functools.cache
def normal_strips() -> np.ndarray:
    """Return the right ends of the ziggurat's strips, (129,): the base as a rectangle, the others from the lowest up to 0."""
    density = math.exp(-0.5 * _TAIL**2)
    ends = [_AREA / density, _TAIL]
    while len(ends) < _STRIPS:
        density += _AREA / ends[-1]
        ends.append(math.sqrt(-2 * math.log(density)))
    return np.array([*ends, 0.0])


class Camera:
    """A camera of the recipe's noise, gain and range."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.dtype = np.uint8 if recipe.bits == 8 else np.uint16
        self._electrons = np.empty((recipe.height_px, recipe.width_px))

    def expose(self, light_grey: np.ndarray, offset_grey: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return a frame, (height_px, width_px) of uint8 or uint16.

        Parameters
        ----------
        light_grey : (height_px, width_px) float64, not negative: the mean grey levels that the light makes
        offset_grey : (height_px, width_px) float64, what hot pixels add
        keys : (2,) uint64, of the shot noise and of the read noise
        """
        from nta.kernels.camera import count_electrons, read_out

        recipe = self.recipe
        fine, fine_guide, coarse, coarse_guide, coarse_first = poisson_tables()
        count_electrons(
            light_grey, recipe.electrons_per_grey, keys[0], fine, fine_guide, coarse, coarse_guide, coarse_first, self._electrons
        )
        grey = np.empty(light_grey.shape, np.uint16)
        ceiling = math.floor(recipe.ceiling_grey())
        read_out(self._electrons, recipe.electrons_per_grey, recipe.read_noise_grey, offset_grey, ceiling, keys[1], normal_strips(), grey)
        return grey.astype(self.dtype)
