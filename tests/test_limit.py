from __future__ import annotations

import math
from dataclasses import replace

import naive
import numpy as np
import pytest
from fake_result import fake_result
from test_depth import runs

from nta.brightness import Brightness
from nta.distribution import Peak
from nta.limit import DetectionLimit, find_limit, found_share, without_peaks_at
from nta.presence import Presence

CONSTANT, WIDTH = 490.65, 3.5


def brightness(exponent: float = 4.0, peak: float = 1.5, sd: float = 0.0, **view: object) -> Brightness:
    parameter = np.array([peak, exponent, exponent, 0.0])
    return Brightness(parameter, np.diag([sd**2, 0, 0, 0]), naive.make_view(n_frames=200, **view), CONSTANT)


def presence_of(light: Brightness) -> Presence:
    none = np.empty(0)
    return Presence(np.empty((0, 0)), none, none, none, width_um=WIDTH, brightness=light)


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("diameter", [58.0, 63.0, 68.0, 90.0])
def test_who_is_found_is_who_would_have_been(gap: int, diameter: float) -> None:
    light = brightness(gap_frames=gap)
    d, rng = CONSTANT / diameter, np.random.default_rng(0)
    # somebody in the middle of the light at the middle of the video, followed both ways
    n = 3000
    steps = rng.normal(scale=math.sqrt(2 * d * 0.04), size=(n, 200))
    steps[:, 0] = 0
    z = np.cumsum(steps, axis=1)
    at = rng.integers(0, 200, n)
    z += (rng.uniform(-WIDTH, WIDTH, n) - z[np.arange(n), at])[:, None]
    snr = 5.0 * np.exp(light.log_peak(np.array([diameter]))[0] - 0.5 * (z / WIDTH) ** 2) + rng.normal(size=z.shape)
    found = np.mean([any(row[first : last + 1].sum() >= 5 for first, last in runs(row, gap)) for row in snr > 5.0])
    assert found_share(light, WIDTH, diameter) == pytest.approx(found, abs=0.08)


def test_the_limit_is_where_half_are_found() -> None:
    light = brightness()
    limit = find_limit(presence_of(light))
    assert found_share(light, WIDTH, limit.diameter_nm * 1.02) > 0.5 > found_share(light, WIDTH, limit.diameter_nm / 1.02)
    # not far from where the peak is the threshold
    assert abs(light.log_peak(np.array([limit.diameter_nm]))[0]) < 0.4
    assert limit.low_nm == pytest.approx(limit.diameter_nm)


@pytest.mark.parametrize("exponent", [3.0, 6.0])
def test_twice_the_light_moves_the_limit_as_the_exponent_says(exponent: float) -> None:
    dim, bright = (find_limit(presence_of(brightness(exponent, peak))).diameter_nm for peak in (1.0, 1.0 + math.log(2)))
    assert dim / bright == pytest.approx(2 ** (1 / exponent), rel=0.03)


def test_its_interval_is_that_of_the_brightness() -> None:
    limit = find_limit(presence_of(brightness(sd=0.2)))
    assert limit.high_nm / limit.diameter_nm == pytest.approx(math.exp(1.96 * 0.2 / 4.0), rel=1e-3)
    assert limit.low_nm * limit.high_nm == pytest.approx(limit.diameter_nm**2)


def test_shorter_tracks_show_smaller_ones() -> None:
    short, long = (find_limit(presence_of(brightness(min_frames=n))).diameter_nm for n in (12, 5))
    assert long < short < 1.3 * long


@pytest.mark.parametrize(("limit_nm", "kept"), [(50.0, [80.0, 200.0]), (78.0, [200.0]), (300.0, [])])
def test_a_peak_at_the_limit_is_no_population(limit_nm: float, kept: list[float]) -> None:
    distribution = replace(fake_result("bimodal").distribution, peaks=(Peak(80.0, 0.7, 1.08), Peak(200.0, 0.3, 1.08)))
    limit = DetectionLimit(limit_nm, limit_nm, limit_nm)
    found = without_peaks_at(limit, distribution)
    assert [peak.diameter_nm for peak in found.peaks] == kept
    assert [n.code for n in found.notices] == ([] if len(kept) == 2 else ["peak_at_limit"])
    if found.notices:
        assert f"about {limit_nm:.0f} nm" in found.notices[0].message
    assert np.array_equal(found.weight, distribution.weight)


def test_without_a_limit_nothing_is_dropped() -> None:
    distribution = fake_result("ev").distribution
    assert without_peaks_at(None, distribution) is distribution


def test_a_mode_at_the_limit_is_said_too() -> None:
    distribution = replace(fake_result("ev").distribution, peaks=())
    mode = distribution.statistic("mode").value
    assert [n.code for n in without_peaks_at(DetectionLimit(mode, mode, mode), distribution).notices] == ["peak_at_limit"]
    assert without_peaks_at(DetectionLimit(mode / 2, mode / 2, mode / 2), distribution).notices == ()
