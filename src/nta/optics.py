"""Particles -> light on the camera: scattering, the light sheet, defocus."""

from __future__ import annotations

import numpy as np

from nta.motion import Exposure
from nta.recipe import Recipe

FAINTEST_GREY = 0.05  # peaks below it are not drawn


def peak_grey(recipe: Recipe, diameter_nm: np.ndarray) -> np.ndarray:
    """Return the peak height in focus of a still particle, grey levels: a power of the diameter, softly capped."""
    free = recipe.peak_at_100nm_grey * (diameter_nm / 100.0) ** recipe.brightness_exponent
    return recipe.peak_cap_grey * -np.expm1(-free / recipe.peak_cap_grey)


def widening(recipe: Recipe, z_um: np.ndarray) -> np.ndarray:
    """Return by how much the variance of a spot at depth `z_um` is above that in focus, a factor."""
    return 1.0 + (z_um / recipe.depth_of_focus_um) ** 2


def seen_peak_grey(recipe: Recipe, diameter_nm: np.ndarray, z_um: np.ndarray) -> np.ndarray:
    """Return the peak height of a still particle at depth `z_um`, grey levels: the sheet dims it, and defocus conserves its light."""
    lit = np.exp(-0.5 * (z_um / (recipe.sheet_depth_um / 2)) ** 2)
    return peak_grey(recipe, diameter_nm) * lit / widening(recipe, z_um)


def to_px(recipe: Recipe, at_um: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row of (..., 2 or more) positions in um from the centre of the field."""
    column = at_um[..., 0] / recipe.pixel_size_um + (recipe.width_px - 1) / 2
    return column, at_um[..., 1] / recipe.pixel_size_um + (recipe.height_px - 1) / 2


def add_light(image: np.ndarray, recipe: Recipe, exposure: Exposure, shaken_um: np.ndarray) -> None:
    """Add the light of an exposure to `image` (float64), in place; each sub-step gives its share.

    The two halves of a clump shine side by side, each as a sphere of its size.

    Parameters
    ----------
    shaken_um : (n_substeps, 2), how far the cell is off
    """
    from nta.kernels.render import add_gaussians

    at, sphere, n = exposure.path_um, exposure.sphere_nm, len(exposure.path_um)
    if exposure.clump.any():
        half = (0.5 * exposure.sphere_nm / 1000 * exposure.clump)[:, None] * exposure.axis
        at = np.concatenate([at + half, (at - half)[:, exposure.clump]], axis=1)
        sphere = np.concatenate([sphere, sphere[exposure.clump]])
    peak = seen_peak_grey(recipe, sphere, at[..., 2])
    drawn = peak > FAINTEST_GREY
    column, row = to_px(recipe, at[..., :2] + shaken_um[:, None])
    add_gaussians(image, column[drawn], row[drawn], recipe.spot_sigma_px * np.sqrt(widening(recipe, at[..., 2][drawn])), peak[drawn] / n)
