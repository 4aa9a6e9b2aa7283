from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nta.motion import Exposure
from nta.optics import add_light, peak_grey, seen_peak_grey, to_px
from nta.recipe import make_recipe

RECIPE = make_recipe(populations=[{"diameter_nm": 100.0}], width_px=128, height_px=128)
X = np.arange(128) - 63.5  # the field's centre lies between pixels


def image_of(at_um: Any, *, sphere_nm: float = 100.0, axis: Any = None, shaken_um: Any = (0.0, 0.0)) -> np.ndarray:
    """Return the light of one particle; `at_um` a place, or one a sub-step."""
    path = np.atleast_2d(np.asarray(at_um, float))[:, None]
    clump = np.array([axis is not None])
    axes = np.broadcast_to(np.asarray(axis if axis is not None else (1.0, 0, 0), float), path.shape)
    exposure = Exposure(np.array([0]), np.array([sphere_nm]), np.array([sphere_nm]), clump, path, axes)
    image = np.zeros((128, 128))
    add_light(image, RECIPE, exposure, np.broadcast_to(np.asarray(shaken_um, float), (len(path), 2)))
    return image


def moments(image: np.ndarray) -> tuple[float, float, float]:
    """Return sum, mean column and its variance."""
    total = float(image.sum())
    mean = float(np.sum(image * X) / total)
    return total, mean, float(np.sum(image * (X - mean) ** 2) / total)


def test_brightness_is_a_power_of_the_diameter_softly_capped() -> None:
    small = peak_grey(RECIPE, np.array([20.0, 40.0]))
    assert small[1] / small[0] == pytest.approx(2**6, rel=1e-3)
    assert small[1] == pytest.approx(40 * 0.4**6, rel=1e-3)
    assert peak_grey(RECIPE, np.array([100.0]))[0] == pytest.approx(255 * (1 - math.exp(-40 / 255)), rel=1e-12)
    assert peak_grey(RECIPE, np.array([5000.0]))[0] == pytest.approx(255, rel=1e-9)
    cubic = replace(RECIPE, brightness_exponent=3.0, peak_cap_grey=1e9)
    assert peak_grey(cubic, np.array([50.0, 100.0, 200.0])) == pytest.approx([5.0, 40.0, 320.0], rel=1e-5)


def test_defocus_spreads_the_light_and_the_sheet_dims_it() -> None:
    (light, _, width), (far, _, wide) = moments(image_of([0, 0, 0])), moments(image_of([0, 0, 4.0]))
    assert width == pytest.approx(1.4**2, rel=0.01)
    assert wide == pytest.approx(1.4**2 * (1 + (4 / 6) ** 2), rel=0.01)
    # 4 um is one standard deviation of an 8 um sheet
    assert far / light == pytest.approx(math.exp(-0.5), rel=1e-3)
    assert image_of([0, 0, 4.0]).max() == pytest.approx(seen_peak_grey(RECIPE, np.array([100.0]), np.array([4.0]))[0], rel=0.1)


def test_light_falls_where_the_particle_is() -> None:
    assert to_px(RECIPE, np.array([[0.0, 0.0], [1.66, -0.83]])) == (pytest.approx([63.5, 73.5]), pytest.approx([63.5, 58.5]))
    image = image_of([1.66, -0.83, 0])
    assert moments(image)[1] == pytest.approx(10.0, abs=1e-3)
    assert moments(image.T)[1] == pytest.approx(-5.0, abs=1e-3)
    assert moments(image_of([0, 0, 0], shaken_um=(0.332, 0)))[1] == pytest.approx(2.0, abs=1e-3)


def test_an_exposure_is_the_mean_of_its_parts() -> None:
    light, mean, width = moments(image_of([[-0.5, 0, 0], [0.7, 0, 0]]))
    assert light == pytest.approx(moments(image_of([0, 0, 0]))[0], rel=1e-4)
    assert mean == pytest.approx(0.1 / 0.166, abs=1e-3)
    assert width == pytest.approx(1.4**2 + (0.6 / 0.166) ** 2, rel=1e-3)


def test_a_clump_is_two_spots_a_diameter_apart() -> None:
    # 400 nm spheres, touching, along x, then along the line of sight
    one = moments(image_of([0, 0, 0], sphere_nm=400.0))
    along = moments(image_of([0, 0, 0], sphere_nm=400.0, axis=(1, 0, 0)))
    into = moments(image_of([0, 0, 0], sphere_nm=400.0, axis=(0, 0, 1)))
    assert along[0] == pytest.approx(2 * one[0], rel=1e-4)
    assert along[1] == pytest.approx(0, abs=1e-9)
    assert along[2] - one[2] == pytest.approx((0.2 / 0.166) ** 2, rel=1e-3)
    assert into[2] == pytest.approx(one[2], rel=0.01)


def test_what_is_far_from_the_light_is_dark() -> None:
    assert image_of([0, 0, 15.0]).max() == 0
    assert image_of([60.0, 0, 0]).max() == 0
