from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest

from nta.background import find_background, local_level, local_sd, typical_sd


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
    assert typical_sd(image) == pytest.approx(3, rel=0.25 if image.size < 2000 else 0.05)


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
    assert typical_sd(flat) == 0
    # one odd pixel, or a thin line, is no noise either
    flat[3, :] = 90
    assert not local_sd(flat).any()


def test_video_and_array_agree(tiny_video: Path) -> None:
    from nta.settings import Settings
    from nta.video import open_video

    with open_video(tiny_video, Settings()) as video:
        frames = np.stack([video.read(i) for i in range(video.n_frames)])
        assert np.array_equal(find_background(video).still, background_of(frames).still)
