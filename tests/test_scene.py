from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nta.recipe import Recipe, make_recipe
from nta.scene import add_stuck, make_scene

PLAIN: dict[str, Any] = {"width_px": 160, "height_px": 120, "hot_pixels": 0, "stuck_particles": 0, "background_grey": 100.0}


def recipe_of(**changes: Any) -> Recipe:
    return make_recipe(populations=[{"diameter_nm": 100.0}], **{**PLAIN, **changes})


def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def test_uneven_background_has_the_mean_and_the_range_asked_for() -> None:
    background = make_scene(recipe_of(background_variation=0.3), rng()).background
    assert background.mean() == pytest.approx(100, rel=1e-9)
    assert np.ptp(background) == pytest.approx(30, rel=1e-9)
    assert np.abs(np.diff(background)).max() < 1  # smooth
    assert np.ptp(make_scene(recipe_of(background_variation=0), rng()).background) == 0


def test_fringes_have_their_amplitude_and_period() -> None:
    fringes = make_scene(recipe_of(background_variation=0, fringes_grey=10, fringes_period_px=8), rng()).background - 100
    assert fringes.std() == pytest.approx(10 / np.sqrt(2), rel=0.02)
    assert np.abs(fringes).max() == pytest.approx(10, rel=0.01)
    power = np.abs(np.fft.fft2(fringes, (512, 512))) ** 2
    power[0, 0] = 0
    row, column = np.unravel_index(power.argmax(), power.shape)
    frequency = np.hypot(np.fft.fftfreq(512)[row], np.fft.fftfreq(512)[column])
    assert 1 / frequency == pytest.approx(8, rel=0.03)


def test_dust_is_rings_wider_than_a_spot() -> None:
    one = make_scene(recipe_of(dust=1), rng()).dust
    # from 0.1 to 0.4 of what the brightest particle has, and hollow
    assert 0.1 * 255 * 0.95 < one.max() < 0.4 * 255 * 1.35
    assert 30 < np.count_nonzero(one > one.max() / 2) < 400
    assert make_scene(recipe_of(dust=0), rng()).dust.max() == 0
    many = make_scene(recipe_of(dust=30), rng()).dust
    assert np.count_nonzero(many > 10) > 5 * np.count_nonzero(one > 10)


def test_hot_and_blinking_pixels_are_different_ones() -> None:
    scene = make_scene(recipe_of(hot_pixels=40, blinking_pixels=25), rng())
    assert np.count_nonzero(scene.hot) == 40
    assert len(np.unique(scene.blinking)) == 25
    assert np.all(scene.hot.flat[scene.blinking] == 0)
    for grey in (scene.hot[scene.hot > 0], scene.blink_grey):
        assert grey.min() >= 0.1 * 256
        assert grey.max() <= 0.8 * 256


def test_more_hot_pixels_than_pixels_are_all_pixels() -> None:
    scene = make_scene(recipe_of(width_px=32, height_px=32, hot_pixels=5000, blinking_pixels=9), rng())
    assert np.count_nonzero(scene.hot) == 1024
    assert len(scene.blinking) == 0


def test_stuck_particles_are_smeared_by_what_shakes_the_cell() -> None:
    recipe = recipe_of(stuck_particles=1)
    scene = make_scene(recipe, rng())
    scene.stuck[0] = (80.0, 60.0, 100.0)
    sharp, smeared = np.zeros((120, 160)), np.zeros((120, 160))
    add_stuck(sharp, recipe, scene, np.zeros((1, 2)))
    add_stuck(smeared, recipe, scene, np.array([[0.5, 0.0], [-0.5, 0.0]]))
    x = np.arange(160) - 80
    assert sharp[60, 80] == pytest.approx(100)
    assert smeared.sum() == pytest.approx(sharp.sum(), rel=1e-6)
    width = [float(np.sum(image * x**2) / image.sum()) for image in (sharp, smeared)]
    assert width[1] - width[0] == pytest.approx((0.5 / 0.166) ** 2, rel=1e-3)
    assert sharp.sum(axis=1) == pytest.approx(smeared.sum(axis=1), rel=1e-4, abs=1e-2)
