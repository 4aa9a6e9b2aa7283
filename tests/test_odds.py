from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy import stats

from nta.links import _sample
from nta.odds import PRIOR_STEPS, Clock, _fit_student, _learn_brightness, _learn_speeds, _widest, first_odds, measured_gate


def test_gate_lies_where_true_steps_sink_below_chance_links() -> None:
    rng = np.random.default_rng(12)
    steps = rng.normal(scale=1.0, size=(20000, 2))
    assert 3.4 < measured_gate(steps, 12.0) < 6.0
    radius = 12 * np.sqrt(rng.random(2000))
    angle = rng.uniform(0, 2 * np.pi, 2000)
    chance = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    # true density n / (2 pi) exp(-r^2 / 2) equals twice 2000 / (pi 144) at r = 3.38
    assert 2.9 * 1.25 < measured_gate(np.concatenate([steps, chance]), 12.0) < 4.0 * 1.25
    assert measured_gate(steps[:99], 12.0) == 12.0
    assert measured_gate(chance, 12.0) == pytest.approx(12.0, rel=0.5)


def test_the_widest_gate_narrows_where_the_fastest_would_sooner_end() -> None:
    assert _widest(1e-7, 6.5) == 26.0
    crowded = _widest(1e-3, 6.5)
    # there, a step is as likely as an end (0.1 of 0.9) and a new particle (0.1 of the density)
    density = np.exp(-(crowded**2) / (2 * 6.5**2)) / (2 * np.pi * 6.5**2)
    assert density == pytest.approx(0.1 / 0.9 * 0.1 * 1e-3, rel=1e-9)
    assert 0 < _widest(1.0, 6.5) < 7


@pytest.mark.parametrize(("tail", "expected"), [(2.0, 2.0), (3.0, 3.0), (1e6, 30.0)])
def test_scale_and_tail_of_students_distribution_are_found(tail: float, expected: float) -> None:
    z = 1.7 * stats.t.rvs(tail, size=6000, random_state=1)
    scale, found = _fit_student(z)
    assert scale == pytest.approx(1.7, rel=0.06)
    assert found == expected


@pytest.mark.parametrize(("walk", "noise"), [(0.6, 0.3), (0.2, 1.0)])
def test_a_tracks_brightness_goes_along_as_forecasts_best(walk: float, noise: float) -> None:
    rng = np.random.default_rng(2)
    true = 3.0 + 0.05 * np.cumsum(walk * rng.normal(size=(300, 20)), axis=1)
    snr = np.exp(true + 0.05 * noise * rng.normal(size=true.shape)).ravel() * 10
    j = np.flatnonzero(np.arange(snr.size) % 20 > 0)
    _, _, follow, _ = _learn_brightness(snr, j - 1, j)
    # gain of the steady Kalman filter of a walk seen with noise
    ratio = (walk / noise) ** 2
    assert follow == pytest.approx((np.sqrt(ratio**2 + 4 * ratio) - ratio) / 2, abs=0.1)


def test_the_prior_of_steps_is_that_of_the_tracks() -> None:
    rng = np.random.default_rng(3)
    tracks, steps = 1500, 12
    brightness = rng.normal(size=tracks)
    inverse_mean = rng.gamma(2.0, 1 / (5.0 * np.exp(-0.7 * brightness)))
    square = rng.exponential(1 / inverse_mean, (steps, tracks)).T.ravel()
    particle = np.repeat(np.arange(tracks), steps)
    grid = np.linspace(-1.0, 1.0, 5)
    worth, log_sum = _learn_speeds(particle, np.arange(len(particle)), square, np.repeat(brightness, steps), grid)
    assert worth == pytest.approx(2.0, rel=0.15)
    assert log_sum == pytest.approx(np.log(5.0) - 0.7 * grid, abs=0.15)
    # one size: as sharp as is allowed
    same = rng.exponential(4.0, len(particle))
    assert _learn_speeds(particle, np.arange(len(particle)), same, np.repeat(brightness, steps), grid)[0] > 0.8 * PRIOR_STEPS[1]


def test_parts_of_a_long_video_are_runs_that_no_track_crosses() -> None:
    spots, _ = naive.crowd(np.random.default_rng(4), 100, 500, 500.0)
    clock = Clock.of(spots)
    some, runs = _sample(spots, clock, 6000)
    assert 5000 < len(some) < 0.7 * len(spots)
    number = runs.number
    # rows of each frame are its own, and between two runs there is nothing for three frames
    assert np.array_equal(runs.time[number], some.frame)
    apart = np.diff(np.unique(number))
    assert set(apart.tolist()) == {1, 4}
    assert 8 <= np.count_nonzero(apart == 4) <= 11
    assert np.all(runs.past[number] + runs.left[number] == runs.left[0])
    short = naive.crowd(np.random.default_rng(4), 100, 40, 500.0)[0]
    assert _sample(short, Clock.of(short), 6000)[0] is short


def test_flow_and_step_are_known_before_there_are_links() -> None:
    spots, _ = naive.crowd(np.random.default_rng(5), 150, 60, 500.0, step_px=(2.0, 2.0), flow_px=(5.0, -1.0), missed=0.0)
    odds = first_odds(spots, Clock.of(spots), 6.5)
    assert odds.path_px[1] == pytest.approx([5.0, -1.0], abs=0.2)
    assert np.exp(odds.table[3]) == pytest.approx(2 * 2.0**2, rel=0.15)
    few = naive.make_spots([0, 1, 2], [50.0, 51.0, 52.0], [50.0, 50.0, 50.0])
    assert np.array_equal(first_odds(few, Clock.of(few), 6.5).path_px, np.zeros((3, 2)))
