from __future__ import annotations

import math
from typing import Any

import naive
import numpy as np
import pytest
from test_depth import DT, diffuse_through, runs

from nta.diffusion import Diffusion, size_grid_nm
from nta.presence import Presence, find_presence, span_frames
from nta.tracks import Tracks
from nta.view import HARD, SOFT

CALIBRATION = naive.calibration(exposure_ms=0.0)
WIDTH, THRESHOLD, MISSED = 3.0, 5.0, 0.03


def log_peak_at(diameter: float) -> float:
    return float(np.clip(1.2 + 3 * math.log(diameter / 100.0), -0.5, 2.5))


def filmed(
    rng: np.random.Generator, diameters: tuple[float, ...], n: int, n_frames: int, knows: float = 0.15, slab: bool = False
) -> tuple[Tracks, Diffusion]:
    """Return the tracks that particles of known sizes make in a sheet, with likelihoods that know the size to 15 %, less for short ones.

    In a `slab` the light is even within `WIDTH` of the middle and ends there, and all are of the same brightness.
    """
    grid = size_grid_nm()
    paths, snrs, size = [], [], []
    for diameter in diameters:
        d = naive.sphere_d_um2_s(diameter)
        z = diffuse_through(rng, n, d, 40.0, n_frames)
        snr = THRESHOLD * np.exp(log_peak_at(diameter) - 0.5 * (z / WIDTH) ** 2) + rng.normal(size=z.shape)
        hit = (snr > THRESHOLD) & (rng.random(z.shape) > MISSED)
        if slab:
            snr, hit = 20.0 + rng.normal(size=z.shape), np.abs(z) < WIDTH
        for row, values in zip(hit, snr, strict=True):
            for first, last in runs(row, 1):
                frames = np.flatnonzero(row[first : last + 1]) + first
                x, y = rng.uniform(0, 1e7, 2)
                paths.append((frames, x + 0.0 * frames, y + 0.0 * frames))
                snrs.append(values[frames])
                size.append(diameter)
    tracks = naive.make_tracks(paths, n_frames=n_frames, snr=np.concatenate(snrs), gap=1, area_px=1e14)
    track = np.flatnonzero(tracks.n_spots >= 5)
    scatter = knows * np.sqrt(np.maximum(15 / tracks.n_spots[track], 0.3))
    guess = np.log(np.array(size)[track]) + scatter * rng.normal(size=len(track))
    loglik = (-0.5 * ((np.log(grid) - guess[:, None]) / scatter[:, None]) ** 2).astype(np.float32)
    loglik -= loglik.max(axis=1, keepdims=True)
    d = 490.7 / np.exp(guess)
    low = np.full(len(track), -50.0)
    return tracks, Diffusion(track, d, d / 1.3, d * 1.3, tracks.n_spots[track] - 1, grid, loglik, *[low] * 4, np.ones(len(track)), 490.7)


@pytest.fixture(scope="module")
def sheet() -> tuple[Tracks, Diffusion, Presence]:
    tracks, diffusion = filmed(np.random.default_rng(3), (80.0, 100.0, 150.0), 250, 150)
    return tracks, diffusion, find_presence(tracks, diffusion, CALIBRATION, 5)


def test_span_counts_missed_frames_too() -> None:
    tracks = naive.make_tracks([([3, 4, 6], [0, 0, 0], [0, 0, 0]), ([7], [0], [0])], n_frames=9)
    assert list(span_frames(tracks)) == [4, 1]


def test_the_light_is_as_wide_as_it_was(sheet: tuple[Any, Any, Presence]) -> None:
    _, _, presence = sheet
    assert pytest.approx(WIDTH, rel=0.15) == presence.width_um
    assert presence.width_low_um < WIDTH < presence.width_high_um
    assert 1.05 < presence.width_high_um / presence.width_low_um < 1.5
    assert presence.chosen["missed_share"].value == pytest.approx(MISSED, abs=0.006)
    assert presence.chosen["sheet_sd_um"].value == pytest.approx(presence.width_um, abs=1e-3)
    assert presence.lengths_chance > 0.01
    assert presence.notices == ()


def test_even_light_with_an_end_is_told_from_links_that_break() -> None:
    tracks, diffusion = filmed(np.random.default_rng(4), (80.0, 160.0), 250, 150, slab=True)
    presence = find_presence(tracks, diffusion, CALIBRATION, 5)
    assert presence.brightness is not None
    assert presence.brightness.view.edge == HARD
    depth = np.interp([80.0, 160.0], size_grid_nm(), presence.depth_um)
    assert depth == pytest.approx([2 * WIDTH] * 2, rel=0.2)
    # as many of either size, but the small ones leave sooner and come again
    per_particle = np.interp([80.0, 160.0], size_grid_nm(), presence.tracks)
    guess = np.log(diffusion.grid_nm[diffusion.loglik.argmax(axis=1)])
    small = np.count_nonzero(guess < math.log(113.0))
    number = np.array([small, len(guess) - small]) / per_particle
    assert number[0] / number[1] == pytest.approx(1.0, abs=0.15)


def test_a_soft_edge_is_not_taken_for_an_end(sheet: tuple[Any, Any, Presence]) -> None:
    assert sheet[2].brightness is not None
    assert sheet[2].brightness.view.edge == SOFT


def test_brightness_is_that_of_each_size(sheet: tuple[Any, Any, Presence]) -> None:
    _, _, presence = sheet
    assert presence.brightness is not None
    for diameter in (80.0, 100.0, 150.0):
        assert presence.brightness.log_peak(np.array([diameter]))[0] == pytest.approx(log_peak_at(diameter), abs=0.2)


def test_what_is_seen_deeper_is_larger(sheet: tuple[Any, Any, Presence]) -> None:
    _, _, presence = sheet
    assert np.all(np.diff(presence.depth_um) >= -0.02)
    assert np.all(presence.depth_um > 0)
    at_100 = np.interp(100.0, size_grid_nm(), presence.depth_um)
    z = np.linspace(-20, 20, 4001)
    from scipy.special import ndtr

    seen = ndtr(THRESHOLD * np.expm1(log_peak_at(100.0) - 0.5 * (z / WIDTH) ** 2))
    assert at_100 == pytest.approx(np.trapezoid(seen, z), rel=0.15)


def test_correction_turns_tracks_into_shares_of_particles(sheet: tuple[Any, Diffusion, Presence]) -> None:
    # as many of each of the three sizes, but not as many tracks
    _, diffusion, presence = sheet
    grid, sizes = diffusion.grid_nm, np.array([80.0, 100.0, 150.0])
    per_particle = presence.tracks[[np.abs(grid - d).argmin() for d in sizes]]
    guess = np.log(grid[diffusion.loglik.argmax(axis=1)])
    tracks = np.array([np.count_nonzero(np.abs(guess[:, None] - np.log(sizes)).argmin(axis=1) == i) for i in range(3)])
    share = tracks / per_particle / np.sum(tracks / per_particle)
    assert share == pytest.approx(np.full(3, 1 / 3), abs=0.07)
    # 750 particles over 40 um
    assert np.sum(tracks / per_particle) == pytest.approx(750 / 40, rel=0.12)
    length = np.arange(len(presence.log_tracks))[5:, None]
    numbers = np.exp(presence.log_tracks[5:])
    assert numbers.sum(axis=0) == pytest.approx(presence.tracks, rel=0.05)
    assert np.all((length * numbers).sum(axis=0) <= presence.detections * (1 + 1e-9))


def test_below_a_limit_all_is_as_there(sheet: tuple[Any, Any, Presence]) -> None:
    grid, presence = size_grid_nm(), sheet[2]
    cut = presence.down_to(grid, 60.0)
    k = int(np.searchsorted(grid, 60.0))
    for name in ("tracks", "depth_um", "detections"):
        before, after = getattr(presence, name), getattr(cut, name)
        assert np.all(after[:k] == before[k])
        assert np.array_equal(after[k:], before[k:])
    assert np.all(cut.log_tracks[:, :k] == presence.log_tracks[:, [k]])
    assert np.array_equal(presence.down_to(grid, 1e6).tracks, np.full(len(grid), presence.tracks[-1]))


def test_likelihoods_are_read_at_the_size_that_particles_seem_to_have(sheet: tuple[Any, Any, Presence]) -> None:
    from dataclasses import replace

    grid, presence = size_grid_nm(), sheet[2]
    step = math.log(grid[1] / grid[0])
    peaked = -0.5 * ((np.log(grid) - math.log(100.0)) / 0.2)[None] ** 2
    two_cells = replace(presence, slowed=np.full(len(grid), 1 - math.exp(-2 * step)))
    assert two_cells.as_seen(peaked)[0, :-2] == pytest.approx(peaked[0, 2:], abs=1e-9)
    same = replace(presence, slowed=np.zeros(len(grid)))
    assert same.as_seen(peaked) == pytest.approx(peaked)
    assert replace(presence, slowed=np.empty(0)).as_seen(peaked) is peaked


def test_visitors_are_those_who_come_by(sheet: tuple[Any, Any, Presence]) -> None:
    _, diffusion, presence = sheet
    rng = np.random.default_rng(5)
    for diameter in (60.0, 300.0):
        k = int(np.abs(diffusion.grid_nm - diameter).argmin())
        d, half = 490.7 / diffusion.grid_nm[k], presence.depth_um[k] / 2
        reservoir = 2 * half + 12 * math.sqrt(2 * d * 150 * DT)
        # ten positions a frame: who crosses between two is missed
        step = math.sqrt(2 * d * DT / 10)
        z = rng.uniform(-reservoir / 2, reservoir / 2, (4000, 1)) + np.cumsum(rng.normal(scale=step, size=(4000, 1500)), axis=1)
        came = np.count_nonzero(np.any(np.abs(z) < half, axis=1)) * reservoir / 4000
        assert presence.visitors_um[k] == pytest.approx(came, rel=0.08)


def test_where_all_are_alike_the_light_is_found_all_the_same() -> None:
    tracks, diffusion = filmed(np.random.default_rng(4), (100.0,), 400, 100)
    presence = find_presence(tracks, diffusion, CALIBRATION, 5)
    assert np.all(np.isfinite(presence.log_tracks))
    assert np.all(presence.tracks > 0)
    assert pytest.approx(WIDTH, rel=0.2) == presence.width_um
    assert presence.brightness is not None
    assert presence.brightness.parameter[1] == pytest.approx(6.0, abs=0.2)


def test_tracks_cut_at_random_are_not_those_of_the_model() -> None:
    # as many short and as many long as no light makes: all cut after 6 frames, but one in five
    tracks, diffusion = filmed(np.random.default_rng(6), (100.0,), 400, 150)
    rng = np.random.default_rng(7)
    short = rng.random(len(tracks)) < 0.8
    start = []
    for i, first in enumerate(tracks.start[:-1]):
        last = tracks.start[i + 1]
        start += list(range(first, last, 6)) if short[i] else [first]
    from dataclasses import replace

    start_ = np.append(start, tracks.start[-1]).astype(np.int64)
    cut = replace(tracks, start=start_, flags=np.zeros(len(start_) - 1, np.uint32))
    track = np.flatnonzero(cut.n_spots >= 5)
    m = len(track)
    loglik = (-0.5 * ((np.log(diffusion.grid_nm) - np.log(100.0)) / 0.1) ** 2 * np.ones((m, 1))).astype(np.float32)
    far = np.full(m, -50.0)
    one = np.ones(m)
    changed = Diffusion(track, one, one, one, cut.n_spots[track] - 1, diffusion.grid_nm, loglik, far, far, far, far, one, 490.7)
    presence = find_presence(cut, changed, CALIBRATION, 5)
    assert presence.lengths_chance < 1e-3
    assert [n.code for n in presence.notices] == ["track_lengths"]


def test_a_handful_of_tracks_is_enough_to_go_on() -> None:
    tracks, diffusion = filmed(np.random.default_rng(8), (100.0,), 3, 100)
    presence = find_presence(tracks, diffusion, CALIBRATION, 5)
    assert 0.05 < presence.width_um < 100
    assert math.isnan(presence.lengths_chance) or presence.lengths_chance > 1e-4
    assert np.all(presence.tracks > 0)
