"""Recipe -> what stands still in a film: uneven light, fringes, dust, stuck particles, hot and blinking pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nta.recipe import Recipe

BLINK_CHANCE = 0.1  # that a blinking pixel goes on or off from one frame to the next


@dataclass(frozen=True)
class Scene:
    """The still parts of a film.

    Attributes
    ----------
    background : (height_px, width_px), light behind everything, grey levels: uneven, with fringes
    dust : (height_px, width_px), light that dirt in the optics scatters, grey levels
    stuck : (n, 3), column, row and peak in grey levels of the stuck particles
    hot : (height_px, width_px), grey levels that hot pixels add
    blinking : (n,), places of the blinking pixels in the flattened frame
    blink_grey : (n,), what each adds while it is on
    """

    background: np.ndarray
    dust: np.ndarray
    stuck: np.ndarray
    hot: np.ndarray
    blinking: np.ndarray
    blink_grey: np.ndarray


def make_scene(recipe: Recipe, rng: np.random.Generator) -> Scene:
    """Draw the still parts of a film."""
    full, shape = 2.0**recipe.bits, (recipe.height_px, recipe.width_px)
    brightest = min(recipe.peak_cap_grey, full)
    n = recipe.stuck_particles
    stuck = np.column_stack([rng.random(n) * recipe.width_px, rng.random(n) * recipe.height_px, rng.uniform(0.2, 0.6, n) * brightest])
    hot = np.zeros(shape)
    where = rng.choice(hot.size, min(recipe.hot_pixels + recipe.blinking_pixels, hot.size), replace=False)
    hot.flat[where[: recipe.hot_pixels]] = rng.uniform(0.1, 0.8, len(where[: recipe.hot_pixels])) * full
    blinking = where[recipe.hot_pixels :]
    return Scene(
        background=_background(recipe) + _fringes(recipe, rng),
        dust=_dust(recipe, rng, brightest),
        stuck=stuck,
        hot=hot,
        blinking=blinking,
        blink_grey=rng.uniform(0.1, 0.8, len(blinking)) * full,
    )


def add_stuck(image: np.ndarray, recipe: Recipe, scene: Scene, shaken_um: np.ndarray) -> None:
    """Add the light of the stuck particles to `image`, in place, sharp or smeared over where the cell shook to, (n_substeps, 2) um."""
    from nta.kernels.render import add_gaussians

    sigma = np.full(len(scene.stuck), recipe.spot_sigma_px)
    for x, y in shaken_um / recipe.pixel_size_um:
        add_gaussians(image, scene.stuck[:, 0] + x, scene.stuck[:, 1] + y, sigma, scene.stuck[:, 2] / len(shaken_um))


def _background(recipe: Recipe) -> np.ndarray:
    """Return a smooth hill with a slope across, of the mean and the range asked for."""
    y, x = np.mgrid[-1 : 1 : recipe.height_px * 1j, -1 : 1 : recipe.width_px * 1j]
    shape = 0.5 * np.cos(1.6 * (x - 0.3)) * np.cos(1.4 * (y + 0.2)) + 0.25 * x - 0.25 * y
    shape = (shape - shape.mean()) / np.ptp(shape)
    return np.asarray(recipe.background_grey * (1 + recipe.background_variation * shape))


def _fringes(recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Return straight interference fringes in a random direction."""
    direction, phase = rng.uniform(0, 2 * math.pi, 2)
    if recipe.fringes_grey == 0:
        return np.zeros((recipe.height_px, recipe.width_px))
    y, x = np.mgrid[: recipe.height_px, : recipe.width_px]
    turns = (x * math.cos(direction) + y * math.sin(direction)) / recipe.fringes_period_px
    return np.asarray(recipe.fringes_grey * np.cos(2 * math.pi * turns + phase))


def _dust(recipe: Recipe, rng: np.random.Generator, brightest: float) -> np.ndarray:
    """Return specks of dirt far out of focus: rings of 2 to 6 spot widths' radius, with a faint disc within."""
    image = np.zeros((recipe.height_px, recipe.width_px))
    y, x = np.mgrid[: recipe.height_px, : recipe.width_px]
    for _ in range(recipe.dust):
        column, row = rng.random(2) * (recipe.width_px, recipe.height_px)
        radius = recipe.spot_sigma_px * rng.uniform(2.0, 6.0)
        peak = rng.uniform(0.1, 0.4) * brightest
        r = np.hypot(x - column, y - row)
        image += peak * (np.exp(-0.5 * ((r - radius) / recipe.spot_sigma_px) ** 2) + 0.3 * (r < radius))
    return image
