from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest

from nta.background import find_background, local_level, local_sd, middle, quartering_network, sorting_network


def background_of(frames: np.ndarray) -> Any:
    return find_background(naive.ArrayVideo(frames))  # type: ignore[arg-type]


def test_what_does_not_move_is_the_background() -> None:
    scene = np.random.default_rng(0).integers(0, 255, (70, 65)).astype(np.uint8)
    found = background_of(np.repeat(scene[None], 30, axis=0))
    assert np.array_equal(found.still, scene)
    assert found.still.dtype == np.float32
    assert list(found.sampled) == list(range(30))


def test_sampled_frames_are_spread_over_the_whole_video() -> None:
    found = background_of(np.zeros((500, 32, 32), np.uint8))
    assert len(found.sampled) == 51
    assert found.sampled[0] == 0
    assert found.sampled[-1] == 499
    assert set(np.diff(found.sampled)) <= {9, 10, 11}


def test_a_passer_by_does_not_enter() -> None:
    frames = np.full((60, 40, 40), 10, np.uint8)
    for i in range(60):
        # 5 columns wide, a new place each frame: on any pixel for an eighth of the time
        frames[i, :, (i * 7) % 36 : (i * 7) % 36 + 5] = 200
    assert np.array_equal(background_of(frames).still, np.full((40, 40), 10))


def test_noise_of_the_background_is_that_of_a_trimmed_mean() -> None:
    frames = 50 + 2 * np.random.default_rng(1).normal(size=(51, 64, 64))
    still = background_of(frames.astype(np.float32)).still
    assert still.mean() == pytest.approx(50, abs=0.02)
    # the interquartile mean of a Gaussian has 1.19 of the variance of a mean
    assert still.std() == pytest.approx(2 * math.sqrt(1.19 / 51), rel=0.06)


def test_fractions_of_a_grey_level_survive() -> None:
    level = np.linspace(20, 21, 64)[None, None, :]
    frames = np.rint(level + np.random.default_rng(2).normal(scale=0.6, size=(51, 64, 64)))
    still = background_of(frames.astype(np.uint8)).still
    # trimming whole numbers pulls towards the nearest of them, by 0.09 at most at this noise
    assert still.mean(axis=0) == pytest.approx(level[0, 0], abs=0.12)
    assert np.std(still.mean(axis=0) - level[0, 0]) < 0.06


def test_a_short_video_has_no_background() -> None:
    assert not background_of(np.full((19, 32, 32), 9, np.uint8)).still.any()
    assert background_of(np.full((20, 32, 32), 9, np.uint8)).still.all()


@pytest.mark.parametrize("shape", [(32, 32), (128, 160), (97, 211), (480, 40)])
def test_level_and_noise_of_an_even_frame(shape: tuple[int, int]) -> None:
    image = (30 + 3 * np.random.default_rng(3).normal(size=shape)).astype(np.float32)
    level, sd = local_level(image), local_sd(image)
    assert level.shape == sd.shape == shape
    n_tile = min(shape[0], 80) * min(shape[1], 80)
    assert np.abs(level - 30).max() < 5 * 3 / math.sqrt(n_tile) * 1.2
    assert np.abs(sd / 3 - 1).max() < 5 * 1.2 / math.sqrt(n_tile)


def test_level_follows_slow_changes_and_ignores_particles() -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:320, :320]
    slow = 40 + 8 * np.sin(x / 120) + 6 * np.cos(y / 150)
    image = slow + rng.normal(size=slow.shape)
    for cx, cy in rng.uniform(5, 315, (60, 2)):
        image += 150 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 1.5**2))
    level = local_level(image.astype(np.float32))
    inner = np.s_[40:-40, 40:-40]
    assert np.abs(level - slow)[inner].max() < 1.5
    assert abs(float(np.mean(level - slow))) < 0.25
    assert np.median(local_sd((image - slow).astype(np.float32))) == pytest.approx(1, rel=0.05)


def test_noise_follows_the_light() -> None:
    scale = np.where(np.arange(256) < 128, 1.0, 4.0)
    image = (scale * np.random.default_rng(5).normal(size=(256, 256))).astype(np.float32)
    sd = local_sd(image)
    assert sd[:, :30].mean() == pytest.approx(1, rel=0.1)
    assert sd[:, -30:].mean() == pytest.approx(4, rel=0.1)


def test_a_flat_frame_has_no_noise() -> None:
    flat = np.full((100, 100), 7, np.float32)
    assert np.array_equal(local_level(flat), flat)
    assert not local_sd(flat).any()
    # one odd pixel, or a thin line, is no noise either
    flat[3, :] = 90
    assert not local_sd(flat).any()


def test_video_and_array_agree(tiny_video: Path) -> None:
    from nta.settings import Settings
    from nta.video import open_video

    with open_video(tiny_video, Settings()) as video:
        frames = np.stack([video.read(i) for i in range(video.n_frames)])
        assert np.array_equal(find_background(video).still, background_of(frames).still)


# --- sorting ---


@pytest.mark.parametrize("n", range(61))
def test_a_sorting_network_sorts(n: int) -> None:
    pairs = sorting_network(n)
    assert all(0 <= a < b < n for a, b in pairs)
    # what sorts zeros and ones sorts everything (Knuth 1973, 5.3.4): all of them up to 12, random ones beyond
    rng = np.random.default_rng(n)
    every, some = (np.arange(2 ** min(n, 12))[:, None] >> np.arange(n)) % 2, rng.random((4000, n)) < rng.random((4000, 1))
    rows = every if n <= 12 else some.astype(int)
    columns = np.concatenate([rows, rng.permuted(np.tile(np.arange(n), (500, 1)), axis=1)]).T.copy()
    expected = np.sort(columns, axis=0)
    for a, b in pairs:
        columns[a], columns[b] = np.minimum(columns[a], columns[b]), np.maximum(columns[a], columns[b])
    assert np.array_equal(columns, expected)


@pytest.mark.parametrize("n", range(2, 61))
def test_a_quartering_network_puts_every_value_into_its_quarter_with_fewer_pairs(n: int) -> None:
    pairs = quartering_network(n)
    assert len(pairs) <= len(sorting_network(n))
    assert n < 16 or len(pairs) < len(sorting_network(n))
    columns = np.random.default_rng(n).permuted(np.tile(np.arange(n), (2000, 1)), axis=1).T.copy()
    for a, b in pairs:
        columns[a], columns[b] = np.minimum(columns[a], columns[b]), np.maximum(columns[a], columns[b])
    quarter, half = n // 4, n // 2
    for first, last in itertools.pairwise((0, quarter, half, n - half, n - quarter, n)):
        assert np.array_equal(np.sort(columns[first:last], axis=0), np.tile(np.arange(first, last)[:, None], 2000))


@pytest.mark.parametrize("n", [2, 5, 6, 7, 16, 17, 20, 51])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_middle_half_is_that_of_sorted_values(n: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    stack = (rng.gamma(2.0, 30.0, (n, 6, 9)) % 255).astype(dtype)
    before = stack.copy()
    flat = stack.reshape(n, -1)
    mean, sd = middle(flat, slice(0, 54), quartering_network(n))
    assert np.array_equal(stack, before)
    assert mean.dtype == sd.dtype == np.float32
    for part in (slice(0, 13), slice(13, 54)):
        assert np.array_equal(middle(flat, part, quartering_network(n)), [mean[part], sd[part]])
    expected = np.array([naive.middle(stack[:, r, c]) for r in range(6) for c in range(9)])
    assert mean.ravel() == pytest.approx(expected[:, 0], rel=1e-5)
    assert sd.ravel() == pytest.approx(expected[:, 1], rel=1e-3, abs=1e-4)


def test_noise_in_time_is_that_of_the_camera() -> None:
    frames = (50 + 3 * np.random.default_rng(6).normal(size=(51, 90, 90))).astype(np.float32)
    _, sd = middle(frames.reshape(51, -1), slice(0, 8100), quartering_network(51))
    # a pixel's SD is told to some 13 %
    assert 0.95 < background_of(frames).noise.mean() / 3 < 1.03
    assert 0.95 < sd.mean() / 3 < 1.03
    assert 0.08 < sd.std() / sd.mean() < 0.2


# --- what moves, and what is stuck ---


def film_with(path: np.ndarray, peak: np.ndarray | float, *, light: np.ndarray | None = None, noise: float = 2.0) -> np.ndarray:
    """Return frames of level 40 with a spot of width 1.5 px at (n, 2) of x and y, times `light` of each frame."""
    rng = np.random.default_rng(7)
    peaks = np.broadcast_to(peak, len(path))
    frames = np.stack([40 + p * naive.gaussian(x, y, 1.5, (90, 100)) for (x, y), p in zip(path, peaks, strict=True)])
    if light is not None:
        frames *= light[:, None, None]
    return (frames + noise * rng.normal(size=frames.shape)).astype(np.float32)


@pytest.mark.parametrize("peak", [80.0, -35.0])
def test_a_slow_particle_of_a_short_video_is_taken_out(peak: float) -> None:
    # 4 px in 40 frames: it covers its pixels for all of the time, and would be found nowhere
    path = np.column_stack([np.linspace(48, 52, 40), np.full(40, 44.6)])
    found = background_of(film_with(path, peak))
    around = found.still[38:52, 42:58]
    # but for the feet of the trail, and noise; it would have stood there half as high as the particle
    assert np.abs(around - 40).max() < 0.04 * abs(peak) + 5 * 2 * math.sqrt(1.19 / 40)
    assert around.mean() == pytest.approx(40, abs=0.4)
    # and what it adds to the noise in time is gone as well
    assert found.noise[44, 48] == pytest.approx(2, rel=0.1)


def test_a_particle_that_leaves_or_comes_is_taken_out() -> None:
    still = np.tile([50.0, 44.6], (40, 1))
    for peak in (80.0 * (np.arange(40) < 30), 80.0 * (np.arange(40) >= 10)):
        assert np.abs(background_of(film_with(still, peak)).still[38:52, 42:58] - 40).max() < 3


@pytest.mark.parametrize("peak", [80.0, -35.0])
@pytest.mark.parametrize("fading", [1.0, 0.7])
def test_a_stuck_particle_stays_in_the_background(peak: float, fading: float) -> None:
    path, light = np.tile([50.3, 44.6], (40, 1)), np.linspace(1, fading, 40)
    found = background_of(film_with(path, peak, light=light))
    expected = (40 + peak * naive.gaussian(50.3, 44.6, 1.5, (90, 100))) * (1 + fading) / 2
    error = (found.still - expected)[38:52, 42:58]
    # a middle half of a straight line has its mean
    assert np.abs(error).max() < 6 * 2 * math.sqrt(1.19 / 40) + (0.5 if fading < 1 else 0)
    assert found.still[45, 50] == pytest.approx(expected[45, 50], abs=2)


def test_hot_pixels_stay_and_keep_their_noise() -> None:
    frames = film_with(np.tile([20.0, 20.0], (40, 1)), 0.0)
    rng = np.random.default_rng(8)
    frames[:, 50, 60] += (60 + 15 * rng.normal(size=40)).astype(np.float32)
    found = background_of(frames)
    assert found.still[50, 60] == pytest.approx(100, abs=4 * 15 * math.sqrt(1.19 / 40))
    # known to a seventh
    assert found.noise[50, 60] == pytest.approx(15.1, rel=0.6)
    assert found.noise[20, 20] == pytest.approx(2, rel=0.1)


# --- photon transfer ---


@pytest.mark.parametrize("electrons_per_grey", [1.0, 4.0])
def test_gain_is_read_from_a_gradient(electrons_per_grey: float) -> None:
    level = np.broadcast_to(np.linspace(30, 150, 160), (51, 120, 160))
    counts = np.random.default_rng(9).poisson(level * electrons_per_grey)
    frames = np.rint(counts / electrons_per_grey).astype(np.uint8)
    # a pixel's variance is known to a quarter, that of 12 levels of 400 pixels each to one in a hundred
    assert background_of(frames).per_grey == pytest.approx(1 / electrons_per_grey, rel=0.12)


def test_gain_is_not_read_where_there_is_none() -> None:
    rng = np.random.default_rng(10)
    level = np.broadcast_to(np.linspace(30, 150, 160), (51, 120, 160))
    assert background_of((level + 5 * rng.normal(size=level.shape)).astype(np.float32)).per_grey == pytest.approx(0, abs=0.01)
    assert background_of(np.full((30, 40, 40), 9, np.uint8)).per_grey == 0
    # an even field has no two levels to compare; that a pixel whose mean is high by chance is noisier, too, is no gain
    for mean in (4, 50):
        assert background_of(rng.poisson(mean, (51, 240, 320)).astype(np.uint8)).per_grey == 0
