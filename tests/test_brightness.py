from __future__ import annotations

import naive
import numpy as np
import pytest

from nta.brightness import PRIOR_MEAN, PRIOR_SD, Brightness, Looks, find_brightness, guess_brightness, log_light, log_peak
from nta.depth import BRIGHTEST, DIMMEST, Depth

CONSTANT = 490.65
TRUE = np.array([1.6, 4.0, 0.5, np.log(1.5)])


def looks_of(size_nm: np.ndarray, rng: np.random.Generator, alike: bool = False, blur: float = 0.0, width: float = 3.0) -> Looks:
    """Return what tracks of known sizes show, 0.4 each about the mean of their size; motion tells their size but for `blur`."""
    grid = np.geomspace(size_nm.min() / 1.5, size_nm.max() * 1.5, 40) if not alike else size_nm[:1]
    view = naive.make_view(n_frames=200)
    expected = Depth.of(view, width, CONSTANT / size_nm, log_peak(TRUE, size_nm, np.zeros(len(size_nm)))).mean_log_snr()
    span = rng.geometric(0.05, len(size_nm)) + 4
    # long tracks are brighter whatever their size
    factor = np.where(span < 20, 0.8, 1.1)
    seen = factor * expected + 0.4 / np.sqrt(span / 20) * rng.normal(size=len(size_nm))
    guess = np.log(size_nm) + blur * rng.normal(size=len(size_nm))
    chance = np.exp(-0.5 * ((np.log(grid) - guess[:, None]) / max(blur, np.log(grid[1] / grid[0]) / 2 if len(grid) > 1 else 1.0)) ** 2)
    if blur:  # a flat population: the chance of a size is as likely as it makes the guess
        inside = (grid >= size_nm.min()) & (grid <= size_nm.max())
        chance = chance * inside + 1e-300
    chance /= chance.sum(axis=1, keepdims=True)
    return Looks(grid, chance, span / span.mean(), seen, span, alike)


def test_light_is_one_power_below_the_knee_and_another_above() -> None:
    d = np.array([10.0, 11.0, 1000.0, 1100.0])
    low, _, high, _ = log_light(TRUE, d)
    slopes = np.diff(log_light(TRUE, d))[[0, 2]] / np.log(1.1)
    assert slopes == pytest.approx([4.0, 0.5], abs=0.02)
    assert log_light(TRUE, np.array([100.0]))[0] == pytest.approx(1.6)
    assert low < 1.6 < high


def test_a_peak_is_lowered_by_the_walk_and_kept_within_what_can_be_told() -> None:
    d = np.array([1.0, 100.0, 1e6])
    peak = log_peak(np.array([1.6, 4.0, 2.0, 0.4]), d, np.array([0.0, 0.5, 0.0]))
    assert peak == pytest.approx([DIMMEST, 1.6 - np.log(1.5), BRIGHTEST])


@pytest.mark.parametrize("blur", [0.0, 0.15])
def test_brightness_over_size_is_found_again(blur: float) -> None:
    rng = np.random.default_rng(1)
    size = np.exp(rng.uniform(np.log(60), np.log(400), 3000))
    looks, view = looks_of(size, rng, blur=blur), naive.make_view(n_frames=200)
    found = find_brightness(looks, guess_brightness(looks, view, CONSTANT), 3.0)
    d = np.array([70.0, 100.0, 200.0, 350.0])
    sd = found.log_peak_sd(d)
    assert np.all((sd > 0.003) & (sd < 0.2))
    error = found.log_peak(d) - log_light(TRUE, d)
    assert np.abs(error).max() < 0.15 + 0.1 * (blur > 0)


def test_what_only_the_bright_show_is_not_taken_for_the_brightness_of_the_dim() -> None:
    # 55 nm stand at the threshold: all that is seen of them is above it, and the mean of that would make them 0.3 brighter
    rng = np.random.default_rng(2)
    size = np.exp(rng.uniform(np.log(55), np.log(150), 3000))
    looks, view = looks_of(size, rng), naive.make_view(n_frames=200)
    found = find_brightness(looks, guess_brightness(looks, view, CONSTANT), 3.0)
    there = log_light(TRUE, np.array([58.0]))[0]
    assert there < 0
    assert found.log_peak(np.array([58.0]))[0] == pytest.approx(there, abs=0.15)
    seen = looks.log_snr[np.abs(np.log(size / 58)) < 0.05].mean()
    assert 1.5 * seen > there + 0.25


def test_one_size_tells_no_exponent() -> None:
    rng = np.random.default_rng(3)
    looks, view = looks_of(np.full(800, 80.0), rng, alike=True), naive.make_view(n_frames=200)
    found = find_brightness(looks, guess_brightness(looks, view, CONSTANT), 3.0)
    assert found.parameter[1:] == pytest.approx(PRIOR_MEAN[1:], abs=0.1)
    at, below = found.log_peak(np.array([80.0]))[0], found.log_peak_sd(np.array([40.0]))[0]
    assert at == pytest.approx(log_light(TRUE, np.array([80.0]))[0], abs=0.06)
    assert found.log_peak_sd(np.array([80.0]))[0] < 0.06
    # half the size: the exponent's 2 times ln 2
    assert below == pytest.approx(PRIOR_SD[1] * np.log(2), rel=0.15)


def test_a_guess_has_the_mean_of_all_at_their_size() -> None:
    rng = np.random.default_rng(4)
    looks = looks_of(np.full(800, 50.0), rng, alike=True)
    found = guess_brightness(looks, naive.make_view(), CONSTANT)
    assert isinstance(found, Brightness)
    assert found.log_peak(np.array([50.0]))[0] == pytest.approx(1.5 * np.average(looks.log_snr, weights=looks.weight))
