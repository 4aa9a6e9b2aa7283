from __future__ import annotations

import naive
import numpy as np
import pytest

from nta.drift import Drift, find_drift, without_drift
from nta.tracks import Tracks


def moving(rng: np.random.Generator, n: int, n_frames: int, drift: np.ndarray, step_px: float = 1.0) -> Tracks:
    """Return `n` whole tracks that step `step_px` and all follow `drift`, (n_frames, 2)."""
    steps = rng.normal(scale=step_px, size=(n, n_frames, 2))
    steps[:, 0] = 0
    at = 100 + np.cumsum(steps, axis=1) + drift
    return naive.make_tracks([(np.arange(n_frames), p[:, 0], p[:, 1]) for p in at], n_frames=n_frames)


def msd(tracks: Tracks, x: np.ndarray, y: np.ndarray, lag: int = 1) -> float:
    n = len(tracks)
    both = np.stack([x.reshape(n, -1), y.reshape(n, -1)])
    return float(np.mean((both[..., lag:] - both[..., :-lag]) ** 2))


def test_by_hand() -> None:
    # two particles, three frames: mean steps (2, 1), and for so few the mean over the whole video
    tracks = naive.make_tracks([([0, 1, 2], [0, 1, 4], [0, 1, 1]), ([0, 1, 2], [9, 11, 13], [5, 6, 8])], n_frames=3)
    drift = find_drift(tracks)
    assert drift.x_px == pytest.approx([0, 2, 4])
    assert drift.y_px == pytest.approx([0, 1, 2])
    assert drift.window_frames == 3
    x, y = without_drift(tracks, drift)
    assert x == pytest.approx([0, -1, 0, 9, 9, 9])
    assert y == pytest.approx([0, 0, -1, 5, 5, 6])


def test_steady_drift_is_recovered() -> None:
    rng = np.random.default_rng(1)
    true = np.outer(np.arange(200), [0.12, -0.07])
    drift = find_drift(moving(rng, 40, 200, true))
    # a mean step of 40 particles over 200 frames: 1 / sqrt(8000) px a frame, 0.011 * sqrt(200 * window) at the end of the walk
    error = np.column_stack([drift.x_px, drift.y_px]) - true
    assert drift.x_px[0] == drift.y_px[0] == 0
    assert np.abs(error).max() < 4 * np.sqrt(200 / 40)
    assert drift.x_px[-1] / 199 == pytest.approx(0.12, abs=4 / np.sqrt(8000))
    assert drift.y_px[-1] / 199 == pytest.approx(-0.07, abs=4 / np.sqrt(8000))


def test_a_pump_that_swings_slowly_is_followed() -> None:
    rng = np.random.default_rng(2)
    t = np.arange(600)
    true = np.column_stack([30 * np.sin(2 * np.pi * t / 400), 0.05 * t])
    tracks = moving(rng, 100, 600, true, 0.5)
    drift = find_drift(tracks)
    assert drift.window_frames == 31
    # 31 frames flatten a swing of 400 by sinc(31 / 400) = 1.0 %
    common = moving(np.random.default_rng(2), 100, 600, np.zeros((600, 2)), 0.5)
    luck = np.column_stack([c.reshape(100, -1).mean(axis=0) - 100 for c in (common.spots.x_px, common.spots.y_px)])
    assert np.abs(drift.x_px - true[:, 0] - luck[:, 0]).max() < 2.0
    x, y = without_drift(tracks, drift)
    assert msd(tracks, x, y) == pytest.approx(0.25, rel=0.02)
    assert msd(tracks, tracks.spots.x_px, tracks.spots.y_px) > 0.3


@pytest.mark.parametrize("n_frames", [40, 120, 600])
@pytest.mark.parametrize("n", [3, 10])
def test_few_particles_keep_their_diffusion(n: int, n_frames: int) -> None:
    # a mean over 10 particles in each frame would take 10 % of it, one over 3 a third
    before, after = [], []
    for seed in range(8):
        tracks = moving(np.random.default_rng(seed), n, n_frames, np.zeros((n_frames, 2)))
        x, y = without_drift(tracks, find_drift(tracks))
        before.append(msd(tracks, tracks.spots.x_px, tracks.spots.y_px))
        after.append(msd(tracks, x, y))
    taken = 1 - np.mean(after) / np.mean(before)
    # at most one step in as many as the window holds, twice that at the ends
    assert 0 <= taken < max(2.5 / (n * n_frames), 2.5 / 1000)


def test_what_is_taken_is_the_window() -> None:
    tracks = moving(np.random.default_rng(3), 10, 400, np.zeros((400, 2)))
    assert find_drift(tracks).window_frames == pytest.approx(1000 / 10, abs=3)
    assert find_drift(moving(np.random.default_rng(3), 10, 60, np.zeros((60, 2)))).window_frames == 60


def test_gaps_and_changes_of_particle_are_no_steps() -> None:
    # a gap of 50 px, and a next track far away: neither may count
    tracks = naive.make_tracks([([0, 1, 3, 4], [0, 1, 51, 52], [0, 0, 0, 0]), ([0, 1], [900, 901], [7, 7])], n_frames=5)
    drift = find_drift(tracks)
    assert drift.x_px == pytest.approx([0, 1, 2, 3, 4])
    assert drift.y_px == pytest.approx(np.zeros(5))


def test_frames_without_particles_take_the_drift_of_their_neighbours() -> None:
    rng = np.random.default_rng(4)
    paths = []
    for first in (0, 500):
        for _ in range(60):
            t = np.arange(first, first + 100)
            paths.append((t, 0.2 * t + np.cumsum(rng.normal(scale=0.3, size=100)), rng.normal(scale=0.3, size=100)))
    drift = find_drift(naive.make_tracks(paths, n_frames=600))
    assert len(drift.x_px) == 600
    assert np.all(np.isfinite(drift.x_px))
    assert drift.x_px[599] == pytest.approx(0.2 * 599, abs=8)


@pytest.mark.parametrize("paths", [[], [([0], [5.0], [5.0])], [([0, 2], [5.0, 9.0], [5.0, 5.0])]])
def test_without_steps_there_is_no_drift(paths: list[tuple[list[int], list[float], list[float]]]) -> None:
    tracks = naive.make_tracks(paths, n_frames=20)
    drift = find_drift(tracks)
    assert np.array_equal(drift.x_px, np.zeros(20))
    assert np.array_equal(drift.y_px, np.zeros(20))
    x, y = without_drift(tracks, drift)
    assert np.array_equal(x, tracks.spots.x_px)
    assert np.array_equal(y, tracks.spots.y_px)


def test_removal_is_a_plain_difference() -> None:
    tracks = naive.make_tracks([([2, 3], [5.0, 6.0], [1.0, 1.0])], n_frames=4)
    x, y = without_drift(tracks, Drift(np.array([0, 1, 2, 4.0]), np.array([0, 0, 0.5, 0.5]), 31))
    assert list(x) == [3.0, 2.0]
    assert list(y) == [0.5, 0.5]
