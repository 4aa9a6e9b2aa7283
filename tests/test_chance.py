from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nta.chance import FEWEST, LEAST, LOW, TAIL, _tail, count_threshold, gaussian_threshold
from nta.kernels.fit import SNR
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


def heights(rng: np.random.Generator, n: float, k: float) -> tuple[np.ndarray, Any]:
    """Return a Poisson number of heights, `n` expected above LOW, and a function for the height that some of them are expected to exceed.

    Their number above u goes as ``u exp(-u^2 / 2 + k u^3 / 6)``.
    """
    u = np.linspace(LOW, 12.0 if k == 0 else 1 / k, 20001)
    fallen = np.log(u) - u**2 / 2 + k * u**3 / 6
    above = np.exp(fallen - fallen[0])
    drawn = np.interp(-rng.random(rng.poisson(n)), -above, u)
    return drawn, lambda wanted: float(np.interp(-wanted / n, -above, u))


@pytest.mark.parametrize("k", [0.0, 0.1])
@pytest.mark.parametrize("wanted", [2.0, 20.0, 200.0])
def test_tail_recovers_the_height_of_its_own_model(k: float, wanted: float) -> None:
    rng = np.random.default_rng(1)
    told, rates = [], []
    for _ in range(12):
        drawn, expected = heights(rng, 3000.0, k)
        told.append(_tail(drawn, LOW, wanted))
        true = expected(wanted)
        # what the true rate is there, by the slope of the model
        rates.append(math.exp(-(told[-1] - true) * (true - 1 / true - k * true**2 / 2)))
    # 3000 heights tell k to about 0.01, and that the number at twice the height in ln to about 0.2; far out it matters more
    assert np.exp(np.mean(np.log(rates))) == pytest.approx(1, abs=0.2)
    assert 0.02 < np.std(np.log(rates)) < 0.45
    assert np.mean(told) == pytest.approx(true, abs=0.06)


def test_tail_goes_on_where_few_are_wanted() -> None:
    drawn, expected = heights(np.random.default_rng(2), 4000.0, 0.0)
    told = [_tail(drawn, LOW, wanted) for wanted in (0.01, 0.1, 1.0, 10.0, 100.0)]
    assert np.all(np.diff(told) < 0)
    assert told == pytest.approx([expected(w) for w in (0.01, 0.1, 1.0, 10.0, 100.0)], abs=0.25)


def test_tail_of_many_is_taken_from_the_highest() -> None:
    drawn, expected = heights(np.random.default_rng(3), 20000.0, 0.0)
    # the same, whatever lies below the highest
    highest = np.sort(drawn)[-TAIL:]
    assert _tail(drawn, LOW, 30.0) == _tail(highest, LOW, 30.0) == pytest.approx(expected(30.0), abs=0.06)


def test_tail_of_few_is_counted() -> None:
    few = np.linspace(3.3, 5.2, FEWEST - 1)
    assert _tail(few, LOW, 3.0) == pytest.approx(np.sort(few)[::-1][3])
    assert _tail(few, LOW, 0.2) == 5.2
    assert _tail(few - 1.0, 2.0, 40.0) == LEAST  # no lower, whatever is asked for


@pytest.mark.parametrize("n", [0, 10, 3000])
def test_more_wanted_than_seen_leaves_the_lowest(n: int) -> None:
    seen = np.linspace(LOW, 5.0, n)
    assert _tail(seen, LOW, max(n, 1) * 1.5) == LOW
    assert _tail(seen, LOW, float(max(n, 1))) == LOW


# --- counted ---


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
    threshold = count_threshold(matched, looks, hidden, even, light, false_spots)
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
        return count_threshold(matched, [matched.see(image, spread) for image in images], where, even, Light(misfit=0.02), 0.5)

    bare, left_out, left_in = threshold(frames, 0 * hidden), threshold(lit, hidden), threshold(lit, 0 * hidden)
    assert left_out == pytest.approx(bare, abs=0.2)
    assert left_in > bare + 1


def test_frames_without_noise_take_the_gaussian_threshold() -> None:
    matched = MatchedFilter(1.5, np.zeros((200, 200), np.float32), 1)
    frames = [np.full((200, 200), 9, np.uint8)] * 4
    seen = [matched.see(frame, np.ones(matched.tiles, np.float32)) for frame in frames]
    told = count_threshold(matched, seen, np.zeros((4, 200, 200), np.uint8), np.ones(matched.grid, np.float32), Light(), 0.1)
    assert told == gaussian_threshold(0.1, area(matched), 1.5)
