from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest

from nta.concentration import find_concentration
from nta.diffusion import size_grid_nm
from nta.distribution import Distribution, Interval
from nta.presence import Presence
from nta.settings import Settings


def distribution_of(number: Interval) -> Distribution:
    grid = size_grid_nm()
    weight = np.full(len(grid), 1 / len(grid))
    per_um = Interval(*(value / 8 for value in vars(number).values()))
    return Distribution(grid, weight, weight, weight[None], np.ones(1), 0.0, np.empty(0), number, per_um)


NUMBER = Interval(50.0, 40.0, 65.0, 40.0, 65.0)
NONE = np.empty(0)
PRESENCE = Presence(np.empty((0, 0)), NONE, NONE, NONE, width_um=4.0, width_low_um=3.6, width_high_um=4.6)
SPOTS = naive.make_spots([0], [1.0], [1.0], n_frames=1, area_px=1000.0 * 500.0)


def test_by_hand() -> None:
    # 500000 px of 0.2 um are 20000 um^2; 10 um deep: 2e5 um^3 = 2e-7 mL; 50 of them: 2.5e8 a mL, diluted a thousandfold 2.5e11
    options = Settings().with_options(depth_um=10.0, dilution=1000.0)
    found = find_concentration(distribution_of(NUMBER), PRESENCE, SPOTS, naive.calibration(pixel_size_um=0.2), options)
    assert found.why_not == ""
    assert found.per_ml is not None
    assert found.per_ml.value == pytest.approx(2.5e11)
    assert found.per_ml.low_stat == pytest.approx(2.0e11)
    assert found.per_ml.high_stat == pytest.approx(3.25e11)
    # 0.5 % of the pixel is 1 % of the area: hypot(0.5e11, 1.96 % of 2.5e11) below
    assert found.per_ml.low == pytest.approx(2.5e11 - np.hypot(0.5e11, 0.0196 * 2.5e11))
    assert found.per_ml.high == pytest.approx(2.5e11 + np.hypot(0.75e11, 0.0196 * 2.5e11))


def test_without_a_depth_there_is_none_and_the_option_is_named() -> None:
    found = find_concentration(distribution_of(NUMBER), PRESENCE, SPOTS, naive.calibration(), Settings())
    assert found.per_ml is None
    assert "--depth-um" in found.why_not


def test_where_nothing_was_sized_there_is_none_and_not_zero() -> None:
    grid = size_grid_nm()
    nothing = np.zeros(len(grid))
    none = Distribution(grid, nothing, nothing, np.empty((0, len(grid))), np.empty(0), 0.0, np.empty(0), Interval(0.0, 0.0, 0.0, 0.0, 0.0))
    found = find_concentration(none, PRESENCE, SPOTS, naive.calibration(), Settings().with_options(depth_um=8.0))
    assert found.per_ml is None
    assert found.why_not == "no particle was sized"


def test_without_an_uncertain_pixel_only_the_luck_of_the_draw_is_left() -> None:
    exact = naive.calibration(pixel_size_um=0.2)
    exact = replace(exact, pixel_size_um=replace(exact.pixel_size_um, sd=None))
    found = find_concentration(distribution_of(NUMBER), PRESENCE, SPOTS, exact, Settings().with_options(depth_um=10.0))
    assert found.per_ml is not None
    assert (found.per_ml.low, found.per_ml.high) == pytest.approx((found.per_ml.low_stat, found.per_ml.high_stat))


def test_an_interval_never_reaches_below_zero() -> None:
    # 100 % below, and the pixel on top
    found = find_concentration(
        distribution_of(Interval(1.0, 0.0, 5.0, 0.0, 5.0)), PRESENCE, SPOTS, naive.calibration(), Settings().with_options(depth_um=8.0)
    )
    assert found.per_ml is not None
    assert found.per_ml.low == 0.0
    assert found.per_ml.high > 5 * found.per_ml.value


@pytest.mark.parametrize(("depth", "dilution", "factor"), [(20.0, 1.0, 0.5), (10.0, 7.0, 7.0), (5.0, 1.0, 2.0)])
def test_half_the_depth_or_twice_the_dilution_is_twice_as_many(depth: float, dilution: float, factor: float) -> None:
    base, other = (
        find_concentration(
            distribution_of(NUMBER), PRESENCE, SPOTS, naive.calibration(), Settings().with_options(depth_um=d, dilution=k)
        ).per_ml
        for d, k in ((10.0, 1.0), (depth, dilution))
    )
    assert base is not None
    assert other is not None
    for name in vars(base):
        assert getattr(other, name) == pytest.approx(factor * getattr(base, name))


def test_a_fitted_depth_is_each_size_s_own_and_its_error_is_in_the_interval() -> None:
    # 50 / 8 a um of depth over 20000 um^2, its interval that of the number and of 3.6 to 4.6 um about 4
    exact = replace(
        naive.calibration(pixel_size_um=0.2), pixel_size_um=replace(naive.calibration(pixel_size_um=0.2).pixel_size_um, sd=None)
    )
    found = find_concentration(distribution_of(NUMBER), PRESENCE, SPOTS, exact, Settings().with_options(depth_um="fitted"))
    assert found.per_ml is not None
    value = 50 / 8 / 20000 * 1e12
    assert found.per_ml.value == pytest.approx(value)
    assert found.per_ml.low_stat == pytest.approx(0.8 * value)
    assert found.per_ml.low == pytest.approx(value * (1 - np.hypot(0.2, 1 - 4 / 4.6)))
    assert found.per_ml.high == pytest.approx(value * (1 + np.hypot(0.3, 4 / 3.6 - 1)))


@pytest.mark.parametrize(("high", "told"), [(5.3, True), (5.5, False)])
def test_a_poorly_fitted_depth_tells_no_concentration(high: float, told: bool) -> None:
    presence = replace(PRESENCE, width_high_um=high)
    options = Settings().with_options(depth_um="fitted")
    found = find_concentration(distribution_of(NUMBER), presence, SPOTS, naive.calibration(), options)
    assert (found.per_ml is not None) == told
    if not told:
        assert "3.6 to 5.5 um" in found.why_not
        assert "--depth-um" in found.why_not
