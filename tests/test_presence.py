from __future__ import annotations

import math
from typing import Any

import naive
import numpy as np
import pytest
from scipy.special import ndtr

from nta.diffusion import Diffusion, size_grid_nm
from nta.presence import DEPTH_CELLS, Presence, _expected, _log_snr, find_presence, span_frames
from nta.tracks import Tracks

DT = 0.04
D = np.array([naive.sphere_d_um2_s(d) for d in (30.0, 100.0, 1000.0)])


def seen_at(z: np.ndarray, log_peak: np.ndarray, threshold: float, width: float, miss: float) -> np.ndarray:
    """Return the chance to be detected at depth z in a Gaussian sheet."""
    return (1 - miss) * ndtr(threshold * (np.exp(log_peak - 0.5 * (z / width) ** 2) - 1))


def runs(seen: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """Return first and last frame of each track in a row of detections that may miss `gap` frames in succession."""
    found: list[tuple[int, int]] = []
    for f in np.flatnonzero(seen):
        if found and f - found[-1][1] <= gap + 1:
            found[-1] = (found[-1][0], int(f))
        else:
            found.append((int(f), int(f)))
    return found


def diffuse_through(rng: np.random.Generator, n: int, d: float, depth_um: float, n_frames: int) -> np.ndarray:
    """Return depths, (n, n_frames) um, of particles spread evenly over `depth_um` about the sheet, between reflecting walls."""
    z = rng.uniform(-depth_um / 2, depth_um / 2, n)[:, None]
    steps = rng.normal(scale=math.sqrt(2 * d * DT), size=(n, n_frames))
    steps[:, 0] = 0
    folded = np.mod(z + np.cumsum(steps, axis=1) + depth_um / 2, 2 * depth_um)
    return np.where(folded > depth_um, 2 * depth_um - folded, folded) - depth_um / 2


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("miss", [0.0, 0.08])
def test_tracks_of_each_length_are_those_of_simulated_particles(gap: int, miss: float) -> None:
    n, n_frames, threshold, width = 5000, 50, 5.0, 2.5
    log_peak = np.array([0.4, 1.0, 2.0])
    expected = _expected(D, log_peak, threshold, width, miss, DT, n_frames, gap)
    assert expected.shape == (n_frames + 1, 3)
    assert np.all(expected >= 0)
    rng = np.random.default_rng(gap)
    for k, d in enumerate(D):
        depth = 2 * (width * math.sqrt(2 * log_peak[k]) + 5 * math.sqrt(2 * d * DT * n_frames))
        z = diffuse_through(rng, n, d, depth, n_frames)
        seen = rng.random(z.shape) < seen_at(z, log_peak[k], threshold, width, miss)
        spans = np.array([last - first + 1 for row in seen for first, last in runs(row, gap)])
        per_um = depth / n
        # whole videos and those that lack a frame at an end stand for themselves: large particles make hardly any other
        for low, high in ((1, 2), (2, 5), (5, 10), (10, 20), (20, 47), (47, 50), (50, 51)):
            count = int(np.count_nonzero((spans >= low) & (spans < high)))
            predicted = float(expected[low:high, k].sum()) / per_um
            # tracks of one particle are not independent: twice Poisson's variance; and 3 % for the cells of the model
            assert count == pytest.approx(predicted, abs=4 * math.sqrt(2 * predicted + 1) + 0.03 * predicted), (k, low)
        assert spans.sum() * per_um == pytest.approx(float(np.arange(n_frames + 1) @ expected[:, k]), rel=0.07)


@pytest.mark.parametrize("miss", [0.0, 0.2])
def test_every_detection_is_in_one_track(miss: float) -> None:
    # without gaps, lengths times numbers are the detections: frames times the depth integral of the chance to be seen
    n_frames, threshold, width, log_peak = 40, 5.0, 2.5, np.array([0.4, 1.0, 2.0])
    expected = _expected(D, log_peak, threshold, width, miss, DT, n_frames, 0)
    z = np.linspace(-30, 30, 60001)
    for k in range(3):
        detections = n_frames * np.trapezoid(seen_at(z, log_peak[k], threshold, width, miss), z)
        assert np.arange(n_frames + 1) @ expected[:, k] == pytest.approx(detections, rel=0.01)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 17, 40])
@pytest.mark.parametrize("gap", [0, 1])
def test_powers_of_a_step_are_as_good_as_many_steps(gap: int, n_frames: int) -> None:
    log_peak = np.array([0.4, 1.0, 2.0])
    expected = _expected(D, log_peak, 5.0, 2.5, 0.08, DT, n_frames, gap)
    for k, d in enumerate(D):
        slow = naive.expected_spans(d, log_peak[k], 5.0, 2.5, 0.08, DT, n_frames, gap, DEPTH_CELLS)
        assert expected[:, k] == pytest.approx(slow, rel=1e-9)


@pytest.mark.parametrize("width", [2.0, 1e6])
def test_at_rest_or_in_an_endless_sheet_lengths_are_those_of_independent_chances(width: float) -> None:
    n_frames, threshold, log_peak = 30, 5.0, 1.5
    d = np.array([1e-9]) if width < 10 else D
    expected = _expected(d, np.full(len(d), log_peak), threshold, width, 0.1, DT, n_frames, 0) / width
    z = np.linspace(-6, 6, 24001)
    s = seen_at(z, np.array(log_peak), threshold, 1.0, 0.1)
    for n in range(5, n_frames):
        by_hand = np.trapezoid((n_frames - n - 1) * s**n * (1 - s) ** 2 + 2 * s**n * (1 - s), z)
        assert expected[n] == pytest.approx(np.full(len(d), by_hand), rel=0.03, abs=1e-3)
    assert expected[n_frames] == pytest.approx(np.full(len(d), np.trapezoid(s**n_frames, z)), rel=0.03)
    assert np.all(expected[0] == 0)


def test_who_is_always_seen_is_seen_in_every_frame() -> None:
    # so bright that the sheet has sharp edges, so deep that nobody crosses them
    expected = _expected(D, np.full(3, 4.0), 1e4, 1e6, 0.0, DT, 20, 1)
    assert expected[20] / 1e6 == pytest.approx(np.full(3, 2 * math.sqrt(8.0)), rel=0.03)
    assert expected[:20].sum() < 1e-3 * expected[20].sum()


def test_missed_detections_break_tracks_as_a_coin_does() -> None:
    # with chance a to be seen, runs of n have probability a^n (1 - a)^2, per frame; at the ends of the video half of that is asked
    n_frames, a, width = 60, 0.7, 1e6
    depth = 2 * width * math.sqrt(8.0)
    plain = _expected(D[:1], np.array([4.0]), 1e4, width, 1 - a, DT, n_frames, 0)[:, 0] / depth
    for n in (1, 2, 5, 10):
        assert plain[n] == pytest.approx((n_frames - n - 1) * a**n * (1 - a) ** 2 + 2 * a**n * (1 - a), rel=0.03)
    bridged = _expected(D[:1], np.array([4.0]), 1e4, width, 1 - a, DT, n_frames, 1)[:, 0] / depth
    rng = np.random.default_rng(0)
    spans = [last - first + 1 for row in rng.random((4000, n_frames)) < a for first, last in runs(row, 1)]
    counts = np.bincount(spans, minlength=n_frames + 1) / 4000
    for low, high in ((1, 3), (3, 10), (10, 30), (30, 57), (57, 61)):
        error = 4 * math.sqrt(counts[low:high].sum() / 4000)
        assert bridged[low:high].sum() == pytest.approx(counts[low:high].sum(), abs=error + 0.03 * counts[low:high].sum())


def test_small_particles_make_more_and_shorter_tracks() -> None:
    expected = _expected(D, np.full(3, 1.0), 5.0, 2.5, 0.02, DT, 600, 1)
    long_enough = expected[5:].sum(axis=0)
    mean_length = (np.arange(601)[5:] @ expected[5:]) / long_enough
    assert long_enough[0] > 1.5 * long_enough[1] > 3 * long_enough[2]
    assert mean_length[0] < 0.8 * mean_length[1] < 0.4 * mean_length[2]
    # but nobody is in view for more frames than there are
    assert np.all(np.arange(601) @ expected <= 1.15 * 600 * 2 * 2.5 * math.sqrt(2.0) * 1.2)


def test_span_counts_missed_frames_too() -> None:
    tracks = naive.make_tracks([([3, 4, 6], [0, 0, 0], [0, 0, 0]), ([7], [0], [0])], n_frames=9)
    assert list(span_frames(tracks)) == [4, 1]


def filmed(
    rng: np.random.Generator, diameters: tuple[float, ...], n: int, n_frames: int, width: float, threshold: float, miss: float
) -> tuple[Tracks, Diffusion]:
    """Return the tracks that particles of known sizes make in a sheet, with likelihoods that know the size to 15 %."""
    grid = size_grid_nm()
    paths, snrs, size = [], [], []
    for diameter in diameters:
        d = naive.sphere_d_um2_s(diameter)
        log_peak = np.array(1.2 + 3 * math.log(diameter / 100.0)).clip(0.3, 3.0)
        depth = 40.0
        z = diffuse_through(rng, n, d, depth, n_frames)
        snr = threshold * np.exp(log_peak - 0.5 * (z / width) ** 2) + rng.normal(size=z.shape)
        hit = (snr > threshold) & (rng.random(z.shape) > miss)
        for row, values in zip(hit, snr, strict=True):
            for first, last in runs(row, 0):
                frames = np.arange(first, last + 1)
                paths.append((frames, 1000.0 + 0.0 * frames, 1000.0 + 0.0 * frames))
                snrs.append(values[first : last + 1])
                size.append(diameter)
    tracks = naive.make_tracks(paths, n_frames=n_frames, snr=np.concatenate(snrs))
    track = np.flatnonzero(tracks.n_spots >= 5)
    guess = np.log(np.array(size)[track]) + 0.15 * rng.normal(size=len(track))
    loglik = (-0.5 * ((np.log(grid) - guess[:, None]) / 0.15) ** 2).astype(np.float32)
    loglik -= loglik.max(axis=1, keepdims=True)
    d = 490.7 / np.exp(guess)
    low = np.full(len(track), -50.0)
    return tracks, Diffusion(track, d, d / 1.3, d * 1.3, tracks.n_spots[track] - 1, grid, loglik, *[low] * 4, np.ones(len(track)), 490.7)


@pytest.fixture(scope="module")
def sheet() -> tuple[Tracks, Diffusion, Presence]:
    tracks, diffusion = filmed(np.random.default_rng(3), (70.0, 100.0, 150.0), 200, 100, 3.0, 5.0, 0.03)
    return tracks, diffusion, find_presence(tracks, diffusion, DT, 5)


def test_depth_and_missed_share_are_of_the_right_size(sheet: tuple[Any, Any, Presence]) -> None:
    # the two trade against each other: half or twice the depth explains the lengths nearly as well (METHODS 2)
    _, _, presence = sheet
    assert 1.4 < presence.chosen["sheet_sd_um"].value < 6.0
    assert 0.0 < presence.chosen["missed_share"].value < 0.08
    at_100 = np.interp(100.0, size_grid_nm(), presence.depth_um)
    assert 0.5 < at_100 / (2 * 3.0 * math.sqrt(2 * 1.2)) < 2.0


def test_what_is_seen_deeper_is_larger(sheet: tuple[Any, Any, Presence]) -> None:
    _, _, presence = sheet
    assert np.all(np.diff(presence.depth_um) >= -1e-12)
    assert np.all(presence.depth_um > 0)


def test_correction_turns_tracks_into_shares_of_particles(sheet: tuple[Any, Diffusion, Presence]) -> None:
    # as many of each of the three sizes, but not as many tracks
    _, diffusion, presence = sheet
    grid, sizes = diffusion.grid_nm, np.array([70.0, 100.0, 150.0])
    per_particle = presence.tracks[[np.abs(grid - d).argmin() for d in sizes]]
    guess = np.log(grid[diffusion.loglik.argmax(axis=1)])
    tracks = np.array([np.count_nonzero(np.abs(guess[:, None] - np.log(sizes)).argmin(axis=1) == i) for i in range(3)])
    share = tracks / per_particle / np.sum(tracks / per_particle)
    assert share == pytest.approx(np.full(3, 1 / 3), abs=0.08)
    assert np.exp(presence.log_tracks[5:]).sum(axis=0) == pytest.approx(presence.tracks, rel=1e-9)


def test_brightness_over_size_is_regressed(sheet: tuple[Tracks, Diffusion, Presence]) -> None:
    tracks, diffusion, _ = sheet
    value = _log_snr(tracks, diffusion)
    assert np.all(np.diff(value) >= 0)
    assert np.all((value >= 0.1) & (value <= 4))
    ratio = np.log(tracks.spots.snr / 5.0)
    mean = np.add.reduceat(ratio, tracks.start[:-1])[diffusion.track] / tracks.n_spots[diffusion.track]
    size = diffusion.grid_nm[diffusion.loglik.argmax(axis=1)]
    for diameter in (75.0, 100.0, 140.0):
        near = np.abs(np.log(size / diameter)) < 0.1
        seen = np.average(mean[near], weights=tracks.n_spots[diffusion.track][near])
        assert np.interp(diameter, diffusion.grid_nm, value) == pytest.approx(seen, abs=0.15)


def test_visitors_are_those_who_come_by(sheet: tuple[Any, Any, Presence]) -> None:
    _, diffusion, presence = sheet
    rng = np.random.default_rng(5)
    for diameter in (40.0, 300.0):
        k = int(np.abs(diffusion.grid_nm - diameter).argmin())
        d, half = 490.7 / diffusion.grid_nm[k], presence.depth_um[k] / 2
        reservoir = 2 * half + 12 * math.sqrt(2 * d * 100 * DT)
        # ten positions a frame: who crosses between two is missed
        step = math.sqrt(2 * d * DT / 10)
        z = rng.uniform(-reservoir / 2, reservoir / 2, (4000, 1)) + np.cumsum(rng.normal(scale=step, size=(4000, 1000)), axis=1)
        came = np.count_nonzero(np.any(np.abs(z) < half, axis=1)) * reservoir / 4000
        assert presence.visitors_um[k] == pytest.approx(came, rel=0.08)


def test_sizes_alone_decide_nothing_when_all_are_alike() -> None:
    tracks, diffusion = filmed(np.random.default_rng(4), (100.0,), 150, 60, 3.0, 5.0, 0.0)
    presence = find_presence(tracks, diffusion, DT, 5)
    assert np.all(np.isfinite(presence.log_tracks))
    assert np.all(presence.tracks > 0)
    assert 1.0 < presence.chosen["sheet_sd_um"].value < 9.0
