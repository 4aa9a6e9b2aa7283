from __future__ import annotations

from pathlib import Path

import naive
import numpy as np
import pytest

import nta
from nta.drift import Drift, find_drift, without_drift
from nta.simulate import make_recipe, write_video
from nta.tracks import Tracks

CALIBRATION = naive.calibration()
FIELD_PX = np.array([640.0, 480.0])


def moving(rng: np.random.Generator, n: int, n_frames: int, drift: np.ndarray, step_px: float = 1.0) -> Tracks:
    """Return `n` whole tracks that step `step_px` and all follow `drift`, (n_frames, 2)."""
    steps = rng.normal(scale=step_px, size=(n, n_frames, 2))
    steps[:, 0] = 0
    at = 100 + np.cumsum(steps, axis=1) + drift
    return naive.make_tracks([(np.arange(n_frames), p[:, 0], p[:, 1]) for p in at], n_frames=n_frames)


def scattered(
    rng: np.random.Generator, n: int, n_frames: int, *, life: int = 15, gsd: float = 1.0, sigma_um: float = 0.04, exposure_s: float = 0.015
) -> tuple[np.ndarray, np.ndarray]:
    """Return first frames, (m,), and positions, (m, life, 2) px, of tracks of 100 nm particles in the field, `n` a frame but at the ends.

    Their middles are spread evenly: a track run backwards is as likely, so that no place tells the direction.
    """
    d = 4.9 * gsd ** rng.normal(size=n * n_frames // life)
    at = naive.brownian_um(rng, len(d), life, d, 0.04, exposure_s, sigma_um) / 0.166
    at += (rng.random((len(d), 2)) * FIELD_PX - at.mean(axis=1))[:, None]
    return rng.integers(0, n_frames - life + 1, len(d)) if life < n_frames else np.zeros(len(d), np.int64), at


def tracks_of(first: np.ndarray, at: np.ndarray, n_frames: int) -> Tracks:
    return naive.make_tracks([(k + np.arange(at.shape[1]), p[:, 0], p[:, 1]) for k, p in zip(first, at, strict=True)], n_frames=n_frames)


def diffusive(tracks: Tracks, x: np.ndarray, y: np.ndarray) -> float:
    """Return variance plus twice the next step's covariance, px^2 a frame: in it, blur and localisation error cancel."""
    both, n_tracks = np.diff(np.stack([x, y])), len(tracks)
    inside = np.diff(tracks.track_of_spot) == 0
    twice = inside[1:] & inside[:-1]
    assert n_tracks == np.count_nonzero(~inside) + 1
    return float(np.mean(both[:, inside] ** 2) + 2 * np.mean((both[:, 1:] * both[:, :-1])[:, twice]))


def msd(tracks: Tracks, x: np.ndarray, y: np.ndarray, lag: int = 1) -> float:
    n = len(tracks)
    both = np.stack([x.reshape(n, -1), y.reshape(n, -1)])
    return float(np.mean((both[..., lag:] - both[..., :-lag]) ** 2))


def test_by_hand() -> None:
    # two particles, three frames: mean steps (2, 1), and for so few the mean over the whole video
    tracks = naive.make_tracks([([0, 1, 2], [0, 1, 4], [0, 1, 1]), ([0, 1, 2], [9, 11, 13], [5, 6, 8])], n_frames=3)
    drift = find_drift(tracks, CALIBRATION)
    assert drift.x_px == pytest.approx([0, 2, 4])
    assert drift.y_px == pytest.approx([0, 1, 2])
    assert drift.window_frames == 3
    x, y = without_drift(tracks, drift)
    assert x == pytest.approx([0, -1, 0, 9, 9, 9])
    assert y == pytest.approx([0, 0, -1, 5, 5, 6])


def test_steady_drift_is_recovered() -> None:
    rng = np.random.default_rng(1)
    true = np.outer(np.arange(200), [0.12, -0.07])
    drift = find_drift(moving(rng, 40, 200, true), CALIBRATION)
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
    drift = find_drift(tracks, CALIBRATION)
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
        x, y = without_drift(tracks, find_drift(tracks, CALIBRATION))
        before.append(msd(tracks, tracks.spots.x_px, tracks.spots.y_px))
        after.append(msd(tracks, x, y))
    taken = 1 - np.mean(after) / np.mean(before)
    # at most one step in as many as the window holds, twice that at the ends
    assert 0 <= taken < max(2.5 / (n * n_frames), 2.5 / 1000)


def test_what_is_taken_is_the_window() -> None:
    tracks = moving(np.random.default_rng(3), 10, 400, np.zeros((400, 2)))
    assert find_drift(tracks, CALIBRATION).window_frames == pytest.approx(1000 / 10, abs=3)
    assert find_drift(moving(np.random.default_rng(3), 10, 60, np.zeros((60, 2))), CALIBRATION).window_frames == 60


def test_gaps_and_changes_of_particle_are_no_steps() -> None:
    # a gap of 50 px, and a next track far away: neither may count
    tracks = naive.make_tracks([([0, 1, 3, 4], [0, 1, 51, 52], [0, 0, 0, 0]), ([0, 1], [900, 901], [7, 7])], n_frames=5)
    drift = find_drift(tracks, CALIBRATION)
    assert drift.x_px == pytest.approx([0, 1, 2, 3, 4])
    assert drift.y_px == pytest.approx(np.zeros(5))


def test_frames_without_particles_take_the_drift_of_their_neighbours() -> None:
    rng = np.random.default_rng(4)
    paths = []
    for first in (0, 500):
        for _ in range(60):
            t = np.arange(first, first + 100)
            paths.append((t, 0.2 * t + np.cumsum(rng.normal(scale=0.3, size=100)), rng.normal(scale=0.3, size=100)))
    drift = find_drift(naive.make_tracks(paths, n_frames=600), CALIBRATION)
    assert len(drift.x_px) == 600
    assert np.all(np.isfinite(drift.x_px))
    assert drift.x_px[599] == pytest.approx(0.2 * 599, abs=8)


@pytest.mark.parametrize("paths", [[], [([0], [5.0], [5.0])], [([0, 2], [5.0, 9.0], [5.0, 5.0])]])
def test_without_steps_there_is_no_drift(paths: list[tuple[list[int], list[float], list[float]]]) -> None:
    tracks = naive.make_tracks(paths, n_frames=20)
    drift = find_drift(tracks, CALIBRATION)
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


# --- slow change ---


@pytest.mark.parametrize(("n", "n_frames", "change"), [(4, 100, 3.0), (10, 400, 3.0), (60, 300, 5.0)])
def test_a_flow_that_changes_evenly_does_not_pass_for_diffusion(n: int, n_frames: int, change: float) -> None:
    # from 400 steps, for which the window is the whole video, to 18000; a mean over all would leave change^2 / 12 in each step's variance
    time = np.arange(n_frames)
    speed = change * (time - 0.5) / (n_frames - 1)
    speed[0] = 0
    true = np.column_stack([np.cumsum(speed), np.zeros(n_frames)])
    kept, without, slopes = [], [], []
    for seed in range(6):
        tracks = moving(np.random.default_rng(seed), n, n_frames, true)
        drift = find_drift(tracks, CALIBRATION)
        kept.append(msd(tracks, *without_drift(tracks, drift)))
        still = moving(np.random.default_rng(seed), n, n_frames, np.zeros((n_frames, 2)))
        without.append(msd(still, still.spots.x_px, still.spots.y_px))
        slopes.append(np.polyfit(time[1:], np.diff(drift.x_px), 1)[0] * (n_frames - 1))
        assert drift.vibration_px == (0.0, 0.0)
    assert 1 - 3 / min(n * n_frames, 1000) < np.mean(kept) / np.mean(without) <= 1.0
    # the slope of a line through n_frames means of n steps of 1 px, from first to last
    assert np.mean(slopes) == pytest.approx(change, abs=4 * np.sqrt(12 / (n * n_frames) / 6))


def test_at_the_ends_of_the_video_a_changing_flow_is_not_behind() -> None:
    speed = 0.05 * np.arange(200)
    true = np.column_stack([np.cumsum(speed), np.cumsum(-speed)])
    drift = find_drift(moving(np.random.default_rng(5), 200, 200, true, 0.2), CALIBRATION)
    # 31 frames of 200 steps of 0.2 px: 0.0025 px, twice that at the ends; a mean over half a window would be off by 15 / 2 * 0.05 = 0.39
    for at in (1, 2, 100, 198, 199):
        assert drift.x_px[at] - drift.x_px[at - 1] == pytest.approx(speed[at], abs=0.02)
        assert drift.y_px[at] - drift.y_px[at - 1] == pytest.approx(-speed[at], abs=0.02)


def test_few_steps_show_no_slope_that_is_not_there() -> None:
    straight = 0
    for seed in range(40):
        drift = find_drift(moving(np.random.default_rng(seed), 4, 60, np.zeros((60, 2))), CALIBRATION)
        straight += int(np.ptp(np.diff(drift.x_px)) < 1e-9) + int(np.ptp(np.diff(drift.y_px)) < 1e-9)
    assert 78 <= straight <= 80


# --- vibration ---


def test_two_particles_shaken_by_hand() -> None:
    # steps +-1 in common and +-1 against each other: mean product of different particles 1 - 1 = 0; without the second, 1
    n = 200
    common = np.cumsum(np.random.default_rng(0).choice([-1.0, 1.0], n))
    own = 1e-3 * np.cumsum(np.random.default_rng(1).choice([-1.0, 1.0], n))
    frame = np.arange(n)
    tracks = naive.make_tracks([(frame, 50 + common + own, 50 + own), (frame, 90 + common - own, 90 - own)], n_frames=n)
    drift = find_drift(tracks, CALIBRATION)
    # the slow flow takes what it can and gives it back
    assert drift.vibration_px[0] == pytest.approx(np.std(np.diff(common)), rel=0.02)
    assert drift.vibration_px[1] == 0.0
    assert np.ptp(drift.x_px - common) < 0.02
    assert [n.code for n in drift.notices] == ["vibration"]


@pytest.mark.parametrize("n", [10, 60])
@pytest.mark.parametrize("amplitude_px", [0.6, 2.0])
def test_vibration_is_measured_and_removed(n: int, amplitude_px: float) -> None:
    found, read, clean, raw = [], [], [], []
    phase = 2 * np.pi * 0.37 * np.arange(600)
    shake = amplitude_px * np.column_stack([np.sin(phase), np.random.default_rng(99).normal(size=600)])
    true = np.std(np.diff(shake, axis=0), axis=0)
    for seed in range(5):
        first, at = scattered(np.random.default_rng(seed), n, 600)
        tracks, still = tracks_of(first, at + shake[first[:, None] + np.arange(15)], 600), tracks_of(first, at, 600)
        drift = find_drift(tracks, CALIBRATION)
        assert [notice.code for notice in drift.notices] == ["vibration"]
        assert all(drift.vibration_px)
        found.append(drift.vibration_px)
        read.append(diffusive(tracks, *without_drift(tracks, drift)) / (1 - drift.diffusion_share))
        clean.append(diffusive(still, still.spots.x_px, still.spots.y_px))
        raw.append(msd_of_steps(tracks) / msd_of_steps(still))
        weight = np.array(drift.vibration_px) ** 2 / (np.array(drift.vibration_px) ** 2 + 14.0 / n)
        assert drift.diffusion_share == pytest.approx(np.mean(2 * weight - weight**2) * 15 / 14 / n, rel=0.12)
    # a particle steps 3.7 px: the variance of 600 means of n of them is known to sqrt(2 / 600)
    error = (true**2 + 14.0 / n) * np.sqrt(2 / 600) / np.sqrt(5)
    assert np.all(np.abs(np.mean(np.square(found), axis=0) - true**2) < 4 * error)
    # besides, the slow flow takes 3 / 1000: at 1000 steps in the window, both neighbours' covariances included
    assert np.mean(read) / np.mean(clean) == pytest.approx(0.998, abs=0.008)
    assert np.mean(raw) > 1 + 0.8 * np.mean(true**2) / 14


def msd_of_steps(tracks: Tracks) -> float:
    inside = np.diff(tracks.track_of_spot) == 0
    return float(np.mean(np.diff(np.stack([tracks.spots.x_px, tracks.spots.y_px]))[:, inside] ** 2))


@pytest.mark.parametrize(
    ("n", "n_frames", "life", "gsd", "sigma_um", "exposure_s"),
    [(60, 200, 15, 1.0, 0.04, 0.015), (10, 200, 15, 1.6, 0.04, 0.015), (20, 100, 100, 1.6, 0.0, 0.04), (5, 40, 15, 1.6, 0.3, 0.015)],
)
def test_free_particles_neither_shake_nor_swirl(n: int, n_frames: int, life: int, gsd: float, sigma_um: float, exposure_s: float) -> None:
    # 20 videos of 2 axes at 1 in 740, and of one field at 1 in 1000: one alarm in 13 of these tests, two in 200
    alarms = 0
    for seed in range(20):
        first, at = scattered(np.random.default_rng(seed), n, n_frames, life=life, gsd=gsd, sigma_um=sigma_um, exposure_s=exposure_s)
        drift = find_drift(tracks_of(first, at, n_frames), CALIBRATION)
        alarms += bool(any(drift.vibration_px)) + (drift.convection_px > 0)
        assert any(drift.vibration_px) or (drift.diffusion_share == 0.0 and not drift.notices)
    assert 0 <= alarms <= 1


def test_one_particle_does_not_shake() -> None:
    path = 100 + 3 * np.random.default_rng(0).normal(size=(100, 2))
    drift = find_drift(naive.make_tracks([(np.arange(100), path[:, 0], path[:, 1])], n_frames=100), CALIBRATION)
    assert drift.vibration_px == (0.0, 0.0)
    assert np.ptp(drift.x_px) < 10


def test_a_shaken_video_is_told_and_sized(tmp_path: Path) -> None:
    recipe = make_recipe(
        populations=[{"diameter_nm": 100.0}], width_px=200, height_px=160, n_frames=100, in_view=20.0, peak_at_100nm_grey=120.0,
        brightness_exponent=3.0, stuck_particles=0, vibration_um=[0.2, 0.0], vibration_hz=9.3, seed=1,
    )  # fmt: skip
    result = nta.analyze(write_video(recipe, None, tmp_path / "shaken.tif")[0], threads=1)
    assert "vibration" in {notice.code for notice in result.notices}
    # steps of a sine of 0.2 um: sqrt(2) sin(pi f / fps) of its amplitude, less 3 % by the exposure
    assert result.drift.vibration_px[0] == pytest.approx(0.2 / 0.166 * np.sqrt(2) * np.sin(np.pi * 9.3 / 25) * 0.97, rel=0.25)
    assert result.drift.vibration_px[1] == 0.0
    assert 0.005 < result.drift.diffusion_share < 0.03
    # 2500 steps, of about 40 particles
    assert result.distribution.statistic("d50").value == pytest.approx(100.0, rel=0.10)


# --- convection ---


def swirl(kind: str, at: np.ndarray) -> np.ndarray:
    """Return (n, 2) velocities at (n, 2) places, mean 0 over the field, RMS 1 of both axes together."""
    u = 2 * at / FIELD_PX - 1
    if kind == "shear":
        return np.column_stack([np.sqrt(3) * u[:, 1], 0 * u[:, 1]])
    if kind == "rotation":
        return np.sqrt(1.5) * np.column_stack([-u[:, 1], u[:, 0]])
    return np.sin(np.pi * u[:, ::-1] + 1)


def net(tracks: Tracks, x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean squared displacement from first to last spot."""
    first, last = tracks.start[:-1], tracks.start[1:] - 1
    return float(np.mean((x[last] - x[first]) ** 2 + (y[last] - y[first]) ** 2))


@pytest.mark.parametrize(("kind", "seen"), [("shear", 1.0), ("rotation", 1.0), ("rolls", 1.0)])
def test_convection_is_found(kind: str, seen: float) -> None:
    # a polynomial of degree 4 has 99 % of a sine
    for seed in range(3):
        first, at = scattered(np.random.default_rng(seed), 60, 600)
        middle = at.mean(axis=1)
        before, at = at, at + 2.0 * swirl(kind, middle)[:, None] * np.arange(-7, 8)[:, None]
        tracks = tracks_of(first, at, 600)
        drift = find_drift(tracks, CALIBRATION)
        # a velocity of 2400 tracks of 14 steps of 3.8 px by 15 terms: 0.08 px
        assert drift.convection_px == pytest.approx(2.0 * seen, abs=0.15)
        assert drift.vibration_px == (0.0, 0.0)
        assert [notice.code for notice in drift.notices] == ["convection"]
        assert "um/s" in drift.notices[0].message
        # what is taken off is the field: hardly any of the velocity is left, and none of the diffusion is lost
        still = tracks_of(first, before, 600)
        x, y = without_drift(tracks, drift)
        walked = net(still, still.spots.x_px, still.spots.y_px)
        assert net(tracks, tracks.spots.x_px, tracks.spots.y_px) > 2 * walked
        assert net(tracks, x, y) == pytest.approx(walked, rel=0.1)


def test_convection_too_slow_to_matter_is_no_news() -> None:
    first, at = scattered(np.random.default_rng(0), 60, 600)
    at = at + 0.3 * swirl("shear", at.mean(axis=1))[:, None] * np.arange(-7, 8)[:, None]
    drift = find_drift(tracks_of(first, at, 600), CALIBRATION)
    # 0.3^2 / 2 of 14 px^2 is 0.3 % of D
    assert drift.convection_px == pytest.approx(0.3, abs=0.12)
    assert drift.notices == ()


def test_a_uniform_flow_is_no_convection_even_past_stuck_particles() -> None:
    for seed in range(5):
        first, at = scattered(np.random.default_rng(seed), 30, 300)
        at = at + np.array([5.0, -2.0]) * np.arange(-7, 8)[:, None]
        stuck = np.full((20, 15, 2), [100.0, 80.0]) + 0.1 * np.random.default_rng(seed).normal(size=(20, 15, 2))
        drift = find_drift(tracks_of(np.append(first, 15 * np.arange(19)), np.concatenate([at, stuck[:19]]), 300), CALIBRATION)
        assert drift.convection_px == 0.0
        assert drift.notices == ()
        # the stuck ones are 19 of 620
        assert drift.x_px[-1] / 299 == pytest.approx(5.0 * 600 / 619, abs=4 * 3.8 / np.sqrt(8700))
