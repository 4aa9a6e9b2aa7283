from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.ndimage import gaussian_filter, maximum_filter

from nta.background import Background
from nta.chance import (
    FEWEST,
    LEAST,
    OUTLIER,
    TAIL,
    TILTS,
    _fallen,
    _powers,
    _skew_and_kurtosis,
    _tail,
    count_threshold,
    filtered_skew,
    gaussian_threshold,
)
from nta.kernels.fit import SNR
from nta.kernels.shuffle import take_off
from nta.matched import Light, MatchedFilter, spread_of


def test_threshold_by_hand() -> None:
    # 240 x 320 px seen at width 1.5: 76800 / 4.5 / 15.75 = 1083.6 cells; u = 4.6 has 1083.6 * 4.6 * exp(-10.58) = 0.1266 maxima
    assert gaussian_threshold(0.12664, 76800.0, 1.5) == pytest.approx(4.6, abs=0.002)


@pytest.mark.parametrize("false_spots", [1e-4, 0.1, 10.0, 1e6])
def test_threshold_is_never_below_three_and_falls_with_what_is_allowed(false_spots: float) -> None:
    u = gaussian_threshold(false_spots, 76800.0, 1.5)
    assert 3.0 <= u <= gaussian_threshold(false_spots / 10, 76800.0, 1.5) < 10
    assert u <= gaussian_threshold(false_spots, 768000.0, 1.5)


# --- the tail ---

WIDTH_PX, LOW = 1.5, 2.8


def heights(rng: np.random.Generator, n: float, skew: float) -> tuple[np.ndarray, Any]:
    """Return a Poisson number of heights, `n` expected above LOW, and a function for the height that some of them are expected to exceed.

    Of pixels of that skewness, of photons alone.
    """
    u, number = _fallen(WIDTH_PX, skew, skew**2)
    log_above = number - np.interp(LOW, u, number)
    drawn = np.interp(-np.log(rng.random(rng.poisson(n))), -log_above, u)
    return drawn, lambda wanted: float(np.interp(-np.log(wanted / n), -log_above, u))


@pytest.mark.parametrize(("skew", "kurtosis"), [(-0.36, 12.0), (0.7, 0.5)])
def test_what_was_counted_holds_against_a_skewness_that_is_not_the_noise_s(skew: float, kurtosis: float) -> None:
    drawn, expected = heights(np.random.default_rng(11), 400, 0.0)
    for wanted in (2.0, 16.0, 60.0):
        told = _tail(drawn, LOW, wanted, WIDTH_PX, skew, kurtosis)
        assert abs(np.sum(drawn > told) - wanted) <= 3 * np.sqrt(wanted) + 4
        assert _tail(drawn, LOW, wanted, WIDTH_PX) == pytest.approx(expected(wanted), abs=0.08)


def test_particles_that_nobody_found_do_not_raise_the_threshold() -> None:
    drawn, expected = heights(np.random.default_rng(12), 400, 0.0)
    debris = np.concatenate([drawn, np.linspace(6.0, 30.0, 12)])
    assert _tail(debris, LOW, 1.0, WIDTH_PX) == pytest.approx(expected(1.0), abs=0.12)


def test_maxima_of_normal_noise_fall_as_those_of_a_gaussian_field() -> None:
    u, number = _fallen(WIDTH_PX, 0.0, 0.0)
    assert u == pytest.approx(TILTS, rel=1e-6)
    fallen = np.log(u) - u**2 / 2
    assert number - number[0] == pytest.approx(fallen - fallen[0], abs=1e-3)


@pytest.mark.parametrize("skew", [0.3, -0.3])
def test_little_skewness_is_the_first_term_of_edgeworths_series(skew: float) -> None:
    skew /= 100
    u, number = _fallen(WIDTH_PX, skew, skew**2)
    more = number - np.log(u) + u**2 / 2 - skew * filtered_skew(WIDTH_PX) * u**3 / 6
    # what is left is of the prefactor, which goes as u
    assert np.abs(more - more[0]).max() < 0.3 * abs(skew) * np.ptp(u)


def test_maxima_of_photon_noise_fall_as_told() -> None:
    rng = np.random.default_rng(8)
    mean, levels = 3.0, np.array([4.0, 4.4, 4.8])
    sigma = math.sqrt(mean / (4 * math.pi * WIDTH_PX**2))
    counts = np.zeros(3)
    for _ in range(5):
        shown = gaussian_filter(rng.poisson(mean, (1500, 1500)) - mean, WIDTH_PX, truncate=3.0) / sigma
        top = shown[shown == maximum_filter(shown, 3)]
        counts += np.count_nonzero(top[:, None] > levels, axis=0)
    u, number = _fallen(WIDTH_PX, mean**-0.5, 1 / mean)
    told = np.exp(np.interp(levels, u, number) - np.interp(levels[0], u, number))
    cubic = np.exp(mean**-0.5 * filtered_skew(WIDTH_PX) * (levels**3 - levels[0] ** 3) / 6)
    normal = levels / levels[0] * np.exp((levels[0] ** 2 - levels**2) / 2)
    assert counts[0] > 500
    assert counts[1:] / counts[0] == pytest.approx(told[1:], rel=0.2)
    # lighter than the cubic alone says, heavier than normal noise
    assert np.all(1.4 * normal[1:] < told[1:])
    assert np.all(told[1:] < (normal * cubic)[1:])


def test_read_noise_makes_a_tail_of_the_same_skewness_heavier() -> None:
    (u, photons), (v, mixed), (w, most) = (_fallen(WIDTH_PX, 0.4, kurtosis) for kurtosis in (0.16, 0.25, 9.0))
    fallen = [np.interp(5.5, at, of) - np.interp(3.5, at, of) for at, of in ((u, photons), (v, mixed), (w, most))]
    assert fallen[0] < fallen[1] < fallen[2] < fallen[0] + 0.6  # no more than read noise as much as photons' would


@pytest.mark.parametrize("skew", [0.0, 0.5, -0.3])
@pytest.mark.parametrize("wanted", [2.0, 20.0, 200.0])
def test_tail_recovers_the_height_of_its_own_model(skew: float, wanted: float) -> None:
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(12):
        drawn, expected = heights(rng, 3000.0, skew)
        told, true = _tail(drawn, LOW, wanted, WIDTH_PX, skew, skew**2), expected(wanted)
        u, number = _fallen(WIDTH_PX, skew, skew**2)
        rates.append(np.interp(told, u, number) - np.interp(true, u, number))
    # a thousand heights are known to 3 %
    assert np.mean(rates) == pytest.approx(0, abs=0.04)
    assert np.std(rates) < 0.06


def test_tail_goes_on_where_few_are_wanted() -> None:
    drawn, expected = heights(np.random.default_rng(2), 4000.0, 0.0)
    told = [_tail(drawn, LOW, wanted, WIDTH_PX) for wanted in (0.01, 0.1, 1.0, 10.0, 100.0)]
    assert np.all(np.diff(told) < 0)
    assert told == pytest.approx([expected(w) for w in (0.01, 0.1, 1.0, 10.0, 100.0)], abs=0.03)


def test_tail_of_many_is_taken_from_the_highest() -> None:
    drawn, expected = heights(np.random.default_rng(3), 20000.0, 0.0)
    # the same, whatever lies below the highest
    highest = np.sort(drawn)[-TAIL:]
    assert _tail(drawn, LOW, 30.0, WIDTH_PX) == _tail(highest, LOW, 30.0, WIDTH_PX) == pytest.approx(expected(30.0), abs=0.03)


def test_tail_of_few_is_counted() -> None:
    few = np.linspace(3.3, 5.2, FEWEST - 1)
    assert _tail(few, LOW, 3.0, WIDTH_PX) == pytest.approx(np.sort(few)[::-1][3])
    assert _tail(few, LOW, 0.2, WIDTH_PX) == 5.2
    assert _tail(few - 1.0, 2.0, 40.0, WIDTH_PX) == LEAST  # no lower, whatever is asked for


@pytest.mark.parametrize("n", [0, 10, 3000])
def test_more_wanted_than_seen_leaves_the_lowest(n: int) -> None:
    seen = np.linspace(LOW, 5.0, n)
    assert _tail(seen, LOW, max(n, 1) * 1.5, WIDTH_PX) == LOW
    assert _tail(seen, LOW, float(max(n, 1)), WIDTH_PX) == LOW


def test_where_many_are_wanted_they_are_counted() -> None:
    seen = np.linspace(3.1, 5.0, 3001)
    assert _tail(seen, LOW, 2000.0, WIDTH_PX) == pytest.approx(5.0 - 1.9 * 2 / 3)


@given(st.integers(0, 2**32 - 1), st.integers(2, 400))
@settings(max_examples=30)
def test_skewness_and_kurtosis_are_those_of_the_pixels_that_are_even(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    noise, sd, even = rng.gamma(3.0, size=(3, n, 4)).astype(np.float32), rng.uniform(0.9, 1.1, (n, 4)), rng.random((n, 4)) < 0.8
    seen = (noise / sd)[:, even]
    seen = np.minimum(seen, OUTLIER)
    expected = (stats.skew(seen, axis=None), stats.kurtosis(seen, axis=None)) if seen.size else (0.0, 0.0)
    assert _skew_and_kurtosis(_powers(noise, sd, even)) == pytest.approx(expected, abs=2e-3)


# --- counted ---


def plain(matched: MatchedFilter, n: int) -> Background:
    """Return a background that `n` frames are held against, of which it does not know."""
    nothing = np.zeros(matched.shape, np.float32)
    return Background(nothing, np.arange(n), nothing)


def counted(noise: Any, false_spots: float, *, n: int = 24, shape: tuple[int, int] = (220, 260)) -> tuple[float, float]:
    """Return the threshold counted on `n` frames of a kind of noise, and how many spots a frame fresh ones have above it."""
    matched = MatchedFilter(1.5, np.zeros(shape, np.float32), 1)
    light = Light(misfit=0.02)

    def seen(frames: Any) -> tuple[np.ndarray, list[Any]]:
        spread = spread_of(matched, frames[:6])
        return spread, [matched.see(frame, spread) for frame in frames]

    frames = [noise() for _ in range(n)]
    spread, looks = seen(frames)
    # the filtered image is the thread's own: only level and frame are asked for
    hidden, even = np.zeros((n, *shape), np.uint8), np.ones(matched.grid, np.float32)
    threshold = count_threshold(matched, looks, hidden, even, plain(matched, n), light, false_spots)
    sd = matched.to_grid(spread)
    fresh = [matched.fit(matched.see(noise(), spread), sd, LOW, light)[0] for _ in range(FRESH)]
    return threshold, sum(np.count_nonzero(rows[:, SNR] > threshold) for rows in fresh) / FRESH


FRESH = 60


def area(matched: MatchedFilter) -> float:
    return float((matched.shape[0] - 2 * matched.rim_px) * (matched.shape[1] - 2 * matched.rim_px))


@pytest.mark.parametrize("false_spots", [0.05, 2.0])
def test_counted_on_gaussian_noise_it_is_that_of_a_gaussian_field(false_spots: float) -> None:
    rng = np.random.default_rng(4)
    threshold, rate = counted(lambda: (50 + 3 * rng.normal(size=(220, 260))).astype(np.float32), false_spots)
    theory = gaussian_threshold(false_spots, area(MatchedFilter(1.5, np.zeros((220, 260), np.float32), 1)), 1.5)
    # the number goes as u exp(-u^2 / 2)
    ratio = threshold / theory * math.exp((theory**2 - threshold**2) / 2)
    assert 1 / 1.5 < ratio < 1.5
    if false_spots > 1:
        assert rate == pytest.approx(false_spots, rel=0.5)


def test_noise_of_few_photons_has_a_higher_threshold_and_the_false_spots_asked_for() -> None:
    rng = np.random.default_rng(5)
    asked = 2.0
    threshold, rate = counted(lambda: (2 * rng.poisson(6.0, (220, 260))).astype(np.uint8), asked)
    theory = gaussian_threshold(asked, area(MatchedFilter(1.5, np.zeros((220, 260), np.float32), 1)), 1.5)
    assert theory + 0.03 < threshold < theory + 1.0
    # 120 expected, known to a tenth
    assert asked / 1.6 < rate < asked * 1.6


def test_where_particles_are_is_left_out() -> None:
    rng = np.random.default_rng(6)
    shape = (220, 260)
    matched = MatchedFilter(1.5, np.zeros(shape, np.float32), 1)
    even = np.ones(matched.grid, np.float32)
    frames = [rng.normal(size=shape).astype(np.float32) for _ in range(20)]
    lit, hidden = [frame.copy() for frame in frames], np.zeros((20, *shape), np.uint8)
    for k in range(20):
        for x, y in rng.integers(10, 200, (30, 2)):
            lit[k][y - 2 : y + 3, x - 2 : x + 3] += 50.0
            hidden[k, y - 2 : y + 3, x - 2 : x + 3] = 1

    def threshold(images: list[np.ndarray], where: np.ndarray) -> float:
        spread = spread_of(matched, frames[:4])
        seen = [matched.see(image, spread) for image in images]
        return count_threshold(matched, seen, where, even, plain(matched, 20), Light(misfit=0.02), 0.5)

    bare, left_out, left_in = threshold(frames, 0 * hidden), threshold(lit, hidden), threshold(lit, 0 * hidden)
    assert left_out == pytest.approx(bare, abs=0.2)
    assert left_in > bare + 1


def test_frames_without_noise_take_the_gaussian_threshold() -> None:
    matched = MatchedFilter(1.5, np.zeros((200, 200), np.float32), 1)
    frames = [np.full((200, 200), 9, np.uint8)] * 4
    seen = [matched.see(frame, np.ones(matched.tiles, np.float32)) for frame in frames]
    hidden, even = np.zeros((4, 200, 200), np.uint8), np.ones(matched.grid, np.float32)
    told = count_threshold(matched, seen, hidden, even, plain(matched, 4), Light(), 0.1)
    assert told == gaussian_threshold(0.1, area(matched), 1.5)


def test_what_was_left_out_of_the_noise_raises_the_threshold() -> None:
    rng = np.random.default_rng(7)
    matched = MatchedFilter(1.5, np.zeros((220, 260), np.float32), 1)
    frames = [rng.normal(size=(220, 260)).astype(np.float32) for _ in range(24)]
    spread = spread_of(matched, frames[:6])
    seen, hidden, even = (
        [matched.see(frame, spread) for frame in frames],
        np.zeros((24, 220, 260), np.uint8),
        np.ones(matched.grid, np.float32),
    )
    task = matched, seen, hidden, even, plain(matched, 24), Light(misfit=0.02), 0.1
    bare, without = count_threshold(*task), count_threshold(*task, masked_snr=4.0)
    # maxima of a Gaussian field above 4 are as 4 exp(-8), of u^2 - 1 = 17 of its variance each, in 2 pi s^2
    share = 4 * math.exp(-8) / (2 * 1.5**2) / (2 * math.pi) ** 1.5 * 17 * 2 * math.pi * 1.5**2
    assert without / bare - 1 == pytest.approx(share / 2, rel=0.3)


def test_frames_of_the_background_count_as_fresh_ones_would() -> None:
    rng = np.random.default_rng(9)
    n, sd = 51, 3.0
    frames = (40 + sd * rng.normal(size=(n, 200, 220))).astype(np.float32)
    stack = np.sort(frames, axis=0)
    quarter = n // 4
    background = Background(stack[quarter : n - quarter].mean(axis=0), np.arange(n), np.full((200, 220), sd, np.float32))
    edge, own = background.own_share()
    value, where = np.empty((200, 220), np.float32), np.array([50.0, 150.0])
    values = []
    for frame in frames:
        take_off(frame, background.still, 1.0, np.zeros((2, 2)), where, where, 0, edge, own, value)
        values.append(value / sd)
    seen = np.concatenate(values)
    before = (frames - background.still) / sd
    fresh = (40 + sd * rng.normal(size=(n, 200, 220)) - background.still) / sd
    assert np.mean(seen**2) == pytest.approx(np.mean(fresh**2), abs=0.004)
    assert np.mean(seen**2) > np.mean(before**2) + 0.03
    # the fourth moment, too, by which its tail is as long: of 2.2 million values known to 0.003
    assert stats.kurtosis(before, axis=None) > 0.04
    assert stats.kurtosis(seen, axis=None) == pytest.approx(0, abs=0.012)
