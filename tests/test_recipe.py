from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nta import medium
from nta.errors import UsageError
from nta.recipe import RANGES, Population, Range, Recipe, make_recipe, read_recipe

ONE = [{"diameter_nm": 100.0}]


def test_recipe_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "ev 1.toml"
    path.write_text("n_frames = 7\ndrift_um_s = [1, -2]\nsaturation_grey = 200\n[[populations]]\ndiameter_nm = 95\ngsd = 1.45\n")
    recipe = read_recipe(path)
    assert recipe == Recipe((Population(95, 1.45),), name="ev 1", n_frames=7, drift_um_s=(1.0, -2.0), saturation_grey=200.0)
    assert (recipe.ceiling_grey(), recipe.box_depth_um()) == (200.0, 8.0)


def test_defaults_are_the_standard_video() -> None:
    recipe = make_recipe(populations=ONE)
    assert (recipe.width_px, recipe.height_px, recipe.n_frames, recipe.fps, recipe.exposure_ms) == (640, 480, 600, 25, 15)
    assert recipe.ceiling_grey() == 255
    assert recipe.viscosity() == medium.water_viscosity_mpas(25.0)
    # what disturbs is off
    off = "dropped_frames duplicated_frames clumps confined_fraction directed_fraction convection_um_s flicker fringes_grey dust".split()
    assert [getattr(recipe, name) for name in off] == [0] * len(off)
    assert recipe.vibration_um == recipe.drift_change_um_s == (0, 0)


def test_the_recipes_viscosity_beats_that_of_its_medium() -> None:
    assert make_recipe(populations=ONE, viscosity_mpas=1.5).viscosity() == 1.5
    assert make_recipe(populations=ONE, temperature_c=37).viscosity() == pytest.approx(0.6913, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_frame": 9}, r"unknown key 'n_frame'; did you mean 'n_frames'\?"),
        ({"fps": 0}, r"fps = 0 must be above 0 and at most 1e\+06"),
        ({"fps": "25"}, r"fps = '25' is not a number"),
        ({"fps": math.nan}, r"fps = nan is not a number"),
        ({"pixel_size_um": -0.1}, r"pixel_size_um = -0.1 must be above 0 and at most 100"),
        ({"in_view": 0}, r"in_view = 0 must be above 0"),
        ({"n_frames": 1}, r"n_frames = 1 must be a whole number from 2"),
        ({"n_frames": 9.5}, r"n_frames = 9.5 must be a whole number from 2"),
        ({"width_px": 31}, r"width_px = 31 must be a whole number from 32 to 16384"),
        ({"read_noise_grey": -1}, r"read_noise_grey = -1 must be from 0 to"),
        ({"hot_pixels": True}, r"hot_pixels = True is not a number"),
        ({"bits": 9}, r"bits = 9 is not one of 8, 10, 12, 14, 16"),
        ({"seed": 1.5}, r"seed = 1.5 must be a whole number"),
        ({"exposure_ms": 41}, r"exposure_ms = 41 is longer than a frame at fps = 25, which is 40 ms"),
        ({"drift_um_s": [1]}, r"drift_um_s = \[1\] is not two numbers"),
        ({"drift_um_s": 1.0}, r"drift_um_s = 1.0 is not two numbers"),
        ({"vibration_um": [0.1, "a"]}, r"vibration_um = 'a' is not a number"),
        ({"vibration_um": [0.1, 200]}, r"vibration_um = 200 must be from -100 to 100"),
        ({"clumps": 1.1}, r"clumps = 1.1 must be from 0 to 1"),
        ({"dropped_frames": 0.95}, r"dropped_frames = 0.95 must be from 0 to 0.9"),
        ({"background_variation": 5.0}, r"background_variation = 5 must be from 0 to 1"),
        ({"temperature_c": -300.0, "viscosity_mpas": 1.0}, r"temperature_c = -300 must be from -50 to 200"),
        ({"temperature_c": 150.0}, r"medium = 'water' at temperature_c = 150: .*outside"),
        ({"medium": "treacle"}, r"medium = 'treacle' at temperature_c = 25: .*treacle"),
        ({"medium": 3}, r"medium = 3 is not a text"),
        ({"confined_fraction": 0.6, "directed_fraction": 0.5}, r"confined_fraction = 0.6 and directed_fraction = 0.5 are together above 1"),
        ({"fringes_grey": 9}, r"fringes_grey = 9 is more than the darkest background, 8.4"),
        ({"polarity": "black"}, r"polarity = 'black' is not one of bright, dark"),
        ({"polarity": "dark", "background_grey": 0}, r"polarity = 'dark' needs background_grey above 0"),
        ({"saturation_grey": 256}, r"saturation_grey = 256 is above what 8 bits hold, 255"),
        ({"populations": []}, r"at least one \[\[populations\]\] table"),
        ({"populations": [{}]}, r"each \[\[populations\]\] table needs diameter_nm"),
        ({"populations": [{"diameter_nm": 100, "gds": 1.2}]}, r"unknown key 'gds' in \[\[populations\]\]; did you mean 'gsd'\?"),
        ({"populations": [{"diameter_nm": -100}]}, r"populations: diameter_nm = -100 must be above 0"),
        ({"populations": [{"diameter_nm": 100, "gsd": 0.9}]}, r"populations: gsd = 0.9 must be from 1 to 10"),
        ({"populations": [{"diameter_nm": 100, "fraction": 0}]}, r"populations: fraction = 0 must be above 0$"),
    ],
)
def test_a_wrong_recipe_is_refused_by_key_value_and_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_recipe(**{"populations": ONE, **change})


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"no such recipe: .*r\.toml"), ("fps = [", r"r\.toml is not a TOML recipe"), ("fps = 25", r"r\.toml: needs at least one")],
)
def test_a_recipe_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_recipe(path)


def test_every_number_of_a_recipe_has_a_range_that_holds_its_default() -> None:
    recipe = Recipe(populations=())
    numbers = {f.name for f in fields(Recipe)} - {"populations", "name", "medium", "polarity"}
    assert set(RANGES) == numbers
    for name, allowed in RANGES.items():
        values = getattr(recipe, name)
        for value in values if isinstance(values, tuple) else [values]:
            assert value is None or allowed.allows(value), name


def test_ranges_allow_their_ends_unless_open() -> None:
    assert [Range(0, 2).allows(v) for v in (-0.1, 0, 1.5, 2, 2.1)] == [False, True, True, True, False]
    assert [Range(0, 2, open=True).allows(v) for v in (0, 0.1)] == [False, True]
    assert [Range(0, 2, whole=True).allows(v) for v in (1, 1.0, 1.5)] == [True, True, False]
    assert str(Range(0, math.inf, open=True)) == "above 0"
    assert str(Range(1, 3, whole=True)) == "a whole number from 1 to 3"


def test_whole_floats_are_taken_as_whole_numbers() -> None:
    recipe = make_recipe(populations=ONE, n_frames=6.0, hot_pixels=2.0)
    assert (recipe.n_frames, recipe.hot_pixels) == (6, 2)
    assert isinstance(recipe.n_frames, int)
