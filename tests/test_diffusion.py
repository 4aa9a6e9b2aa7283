from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import naive
import numpy as np
import pytest

from nta.diffusion import Diffusion, find_diffusion, size_grid_nm
from nta.drift import Drift
from nta.flags import Flag
from nta.shared import SharedModel
from nta.steps import Steps
from nta.tracks import Tracks

PIXEL_UM, DT = 0.166, 0.04


def still(tracks: Tracks) -> Drift:
    n = tracks.spots.n_frames
    return Drift(np.zeros(n), np.zeros(n), 31)


def diffuse(tracks: Tracks, exposure_ms: float | None = 15.0) -> Diffusion:
    return find_diffusion(tracks, still(tracks), naive.calibration(exposure_ms=exposure_ms), 0.8900)


def brownian(n: int, n_frames: int, diameter_nm: float, seed: int = 0, **more: Any) -> Tracks:
    return naive.brownian_tracks(np.random.default_rng(seed), n, n_frames, naive.sphere_d_um2_s(diameter_nm), **more)


def common_size_nm(found: Diffusion) -> float:
    """Return the one diameter under which all tracks together are most likely, between grid points by a parabola."""
    total = found.loglik.astype(float).sum(axis=0)
    k = int(np.clip(total.argmax(), 1, len(total) - 2))
    a, b, c = total[k - 1 : k + 2]
    shift = 0.5 * (a - c) / (a - 2 * b + c)
    return float(found.grid_nm[k] * (found.grid_nm[1] / found.grid_nm[0]) ** shift)


def averaged(tracks: Tracks, n_frames: int, over: int) -> Tracks:
    """Return tracks whose positions are running means over `over` frames, as a temporal filter in a camera or codec makes them."""
    kernel = np.ones(over) / over
    paths = []
    for a, b in pairwise(tracks.start):
        x, y = (np.convolve(c[a:b], kernel, mode="valid")[:n_frames] for c in (tracks.spots.x_px, tracks.spots.y_px))
        paths.append((np.arange(n_frames), x, y))
    sd_px = float(tracks.spots.x_sd_px[0])
    return naive.make_tracks(paths, n_frames=n_frames, sd_px=sd_px, gate_px=60.0)


def localisation_px(found: Diffusion, own_px: float) -> float:
    """Return the localisation error the fit gives to a spot of the stated own error."""
    return math.hypot(found.chosen["localisation_floor_px"].value, found.chosen["localisation_factor"].value * own_px)


@pytest.fixture(scope="module")
def beads() -> tuple[Tracks, Diffusion]:
    tracks = brownian(250, 16, 100.0, sigma_um=0.04, sd_px=0.04 / PIXEL_UM / 1.5)
    return tracks, diffuse(tracks)


def test_grid_is_logarithmic_over_all_sizes_of_interest() -> None:
    grid = size_grid_nm()
    assert grid[0] <= 20
    assert grid[-1] >= 3000
    assert np.ptp(np.diff(np.log(grid))) < 1e-12
    assert grid[1] / grid[0] < 1.05


def test_beads_have_their_size(beads: tuple[Tracks, Diffusion]) -> None:
    _, found = beads
    # 15 steps know D to 27 %, 250 tracks to 1.7 %
    assert common_size_nm(found) == pytest.approx(100.0, rel=0.05)
    assert np.median(found.raw_diameters_nm()) == pytest.approx(100.0, rel=0.07)
    assert found.d_um2_s.mean() == pytest.approx(naive.sphere_d_um2_s(100.0), rel=0.06)
    assert 0.2 < found.d_um2_s.std() / found.d_um2_s.mean() < 0.34
    assert len(found) == 250
    assert np.array_equal(found.track, np.arange(250))
    assert np.array_equal(found.n_steps, np.full(250, 15))
    assert found.stokes_einstein_nm_um2_s == pytest.approx(100 * naive.sphere_d_um2_s(100.0))
    assert found.notices == ()


def test_intervals_cover_the_truth_with_a_fitted_error(beads: tuple[Tracks, Diffusion]) -> None:
    _, found = beads
    true = naive.sphere_d_um2_s(100.0)
    covered = np.mean((found.low <= true) & (true <= found.high))
    assert 0.90 < covered < 0.99  # 3 standard errors of 250 are 4 %
    assert np.all((found.low < found.d_um2_s) & (found.d_um2_s < found.high))


def test_likelihood_rows_peak_at_zero_and_at_the_estimate(beads: tuple[Tracks, Diffusion]) -> None:
    _, found = beads
    assert found.loglik.dtype == np.float32
    assert found.loglik.shape == (250, len(found.grid_nm))
    assert np.array_equal(found.loglik.max(axis=1), np.zeros(250))
    at = np.log(found.stokes_einstein_nm_um2_s / found.d_um2_s)
    assert np.abs(at - np.log(found.grid_nm[found.loglik.argmax(axis=1)])).max() <= np.log(found.grid_nm[1] / found.grid_nm[0]) * 1.01
    # none of these stands still or is noise
    assert np.all(found.loglik_immobile < -5)
    assert np.all(found.loglik_noise < -5)


@pytest.mark.parametrize(("own_px", "diameter_nm"), [(0.2, 500.0), (0.08, 800.0), (0.2, 1000.0)])
def test_localisation_error_is_recovered_where_it_matters(own_px: float, diameter_nm: float) -> None:
    # 50 nm = 0.30 px; what each spot says of its own error may be wrong
    found = diffuse(brownian(200, 16, diameter_nm, sigma_um=0.05, sd_px=own_px))
    assert localisation_px(found, own_px) == pytest.approx(0.05 / PIXEL_UM, rel=0.3)
    assert common_size_nm(found) == pytest.approx(diameter_nm, rel=0.07)


def test_unknown_exposure_is_estimated_and_said() -> None:
    found = diffuse(brownian(120, 20, 80.0, sd_px=0.16, exposure_s=0.030), exposure_ms=None)
    used = found.chosen["exposure_ms"]
    assert used.source == "measured"
    assert used.sd is not None
    assert 0.5 < used.sd < 8
    assert used.value == pytest.approx(30.0, abs=min(10.0, 3 * used.sd))
    notice = next(n for n in found.notices if n.code == "exposure_estimated")
    assert f"{used.value:.1f} +- {used.sd:.1f} ms; give --exposure-ms" in notice.message
    assert common_size_nm(found) == pytest.approx(80.0, rel=0.08)


def test_exposure_of_a_whole_frame() -> None:
    found = diffuse(brownian(150, 16, 100.0, exposure_s=0.040, sd_px=0.16), exposure_ms=40.0)
    assert common_size_nm(found) == pytest.approx(100.0, rel=0.06)


def test_uncorrelated_tracks_are_read_frame_by_frame(beads: tuple[Tracks, Diffusion]) -> None:
    _, found = beads
    assert found.chosen["stride_frames"].value == 1


@pytest.mark.parametrize("over", [2, 3])
def test_positions_smoothed_in_time_are_read_at_a_stride(over: int) -> None:
    smooth = averaged(brownian(60, 40 + over, 100.0, 7), 40, over)
    found = diffuse(smooth)
    assert 2 <= found.chosen["stride_frames"].value <= 3 * over
    assert [n.code for n in found.notices if n.code.startswith("correlated")] == ["correlated_frames"]
    assert common_size_nm(found) == pytest.approx(100.0, rel=0.08)
    # the sub-tracks of one track are no more evidence than it is: intervals widen, they do not shrink
    true = naive.sphere_d_um2_s(100.0)
    assert np.mean((found.low <= true) & (true <= found.high)) > 0.85
    assert len(found) == 60


@pytest.mark.parametrize("over", [1, 3])
def test_tracks_are_read_alike_however_many_at_a_time(over: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tracks = averaged(brownian(60, 40 + over, 100.0, 7), 40, over)
    whole = diffuse(tracks)
    monkeypatch.setattr("nta.diffusion.BLOCK_TRACKS", 7)
    parts = diffuse(tracks)
    # at a stride, several rows belong to a track
    assert (whole.chosen["stride_frames"].value > 1) == (over > 1)
    for name in (
        "track",
        "d_um2_s",
        "low",
        "high",
        "n_steps",
        "loglik",
        "loglik_immobile",
        "loglik_noise",
        "loglik_directed",
        "loglik_confined",
        "p_fit",
    ):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def joined(*some: np.ndarray) -> Tracks:
    """Return tracks of positions, (n, n_frames, 2) um each."""
    paths = [(np.arange(len(at)), at[:, 0] / PIXEL_UM + 1e3 * i, at[:, 1] / PIXEL_UM) for part in some for i, at in enumerate(part)]
    return naive.make_tracks(paths, n_frames=400, sd_px=0.04 / PIXEL_UM / 1.15, gate_px=60.0)


def test_what_is_held_passes_neither_for_noise_nor_for_diffusion() -> None:
    rng, d = np.random.default_rng(11), naive.sphere_d_um2_s(100.0)
    free = naive.brownian_um(rng, 120, 16, d, 0.04, 0.015, 0.04)
    held = naive.trapped_um(rng, 25, 60, d, 0.2, 0.04, 0.015, 0.04)
    found = diffuse(joined(free, held))
    # the localisation error is that of the free ones
    assert localisation_px(found, 0.04 / PIXEL_UM / 1.15) == pytest.approx(0.04 / PIXEL_UM, rel=0.15)
    others = np.column_stack([found.loglik_immobile, found.loglik_noise, found.loglik_directed])
    assert np.all(found.loglik_confined[120:] > np.maximum(others[120:].max(axis=1), 5))
    assert np.mean(found.loglik_confined[:120] < 1) > 0.97
    assert np.mean(found.p_fit[120:] < 0.001) > 0.9
    assert np.mean(found.p_fit[:120] < 0.001) < 0.02


def test_a_few_that_are_carried_do_not_correlate_the_steps_of_all() -> None:
    rng, d = np.random.default_rng(12), naive.sphere_d_um2_s(100.0)
    free = naive.brownian_um(rng, 150, 16, d, 0.04, 0.015, 0.04)
    carried = naive.brownian_um(rng, 10, 300, d, 0.04, 0.015, 0.04) + np.array([6.0, 8.0]) * 0.04 * np.arange(300)[:, None]
    found = diffuse(joined(free, carried))
    assert found.chosen["stride_frames"].value == 1
    assert found.notices == ()
    assert np.all(found.loglik_directed[150:] > 10)
    assert np.mean(found.loglik_directed[:150] < 2) > 0.97


def test_refused_tracks_are_not_sized() -> None:
    tracks = brownian(6, 8, 100.0)
    flags = np.array([0, Flag.TOO_SHORT, 0, Flag.UNLINKED, Flag.SATURATED, 0], np.uint32)
    found = diffuse(replace(tracks, flags=flags))
    assert list(found.track) == [0, 2, 4, 5]


@pytest.mark.parametrize("paths", [[], [([0, 1], [5.0, 6.0], [5.0, 5.0])]])
def test_nothing_to_size_is_an_empty_result(paths: Any) -> None:
    found = diffuse(naive.make_tracks(paths, n_frames=20))
    assert len(found) == 0
    assert found.loglik.shape == (0, len(size_grid_nm()))
    assert len(found.raw_diameters_nm()) == len(found.d_um2_s) == len(found.low) == len(found.loglik_noise) == 0
    assert found.stokes_einstein_nm_um2_s == pytest.approx(490.7, rel=1e-3)


@pytest.mark.parametrize("n", [1, 2])
def test_a_track_or_two_can_be_sized(n: int) -> None:
    found = diffuse(brownian(n, 30, 200.0, 5))
    assert len(found) == n
    assert np.all(found.low <= found.d_um2_s)
    assert np.all(found.high >= found.d_um2_s)
    assert np.all((found.raw_diameters_nm() > 60) & (found.raw_diameters_nm() < 700))


def test_gaps_are_steps_of_longer_time() -> None:
    whole = brownian(200, 24, 100.0, 6, sd_px=0.16)
    rng = np.random.default_rng(0)
    paths = []
    for a in whole.start[:-1]:
        keep = np.sort(rng.choice(24, 17, replace=False))
        paths.append((keep, whole.spots.x_px[a + keep], whole.spots.y_px[a + keep]))
    found = diffuse(naive.make_tracks(paths, n_frames=24, sd_px=0.16, gate_px=60.0))
    assert common_size_nm(found) == pytest.approx(100.0, rel=0.06)
    assert np.array_equal(found.n_steps, np.full(200, 16))


def test_what_stands_still_and_what_jumps_are_told_from_what_diffuses() -> None:
    rng = np.random.default_rng(7)
    moving = brownian(60, 20, 100.0, 8, sd_px=0.16)
    paths = [(np.arange(20), moving.spots.x_px[a : a + 20], moving.spots.y_px[a : a + 20]) for a in moving.start[:-1]]
    for i in range(20):
        at = 1e5 + 1000.0 * i + 0.24 * rng.normal(size=(2, 20))
        paths.append((np.arange(20), at[0], at[1]))
    for i in range(20):
        # each step anywhere in a gate of 25 px
        radius, angle = 25 * np.sqrt(rng.random(20)), rng.uniform(0, 2 * np.pi, 20)
        paths.append((np.arange(20), 2e5 + 1000 * i + np.cumsum(radius * np.cos(angle)), np.cumsum(radius * np.sin(angle))))
    found = diffuse(naive.make_tracks(paths, n_frames=20, sd_px=0.16, gate_px=25.0))
    kind = np.column_stack([np.zeros(100), found.loglik_immobile, found.loglik_noise]).argmax(axis=1)
    assert np.mean(kind[:60] == 0) > 0.95
    assert np.mean(found.d_um2_s[60:80] == 0) > 0.9
    assert np.mean(found.loglik_noise[80:] > 0) > 0.8
    assert np.all(found.loglik_noise[:60] < -3)


def test_long_steps_lost_at_the_sides_of_a_small_field_do_not_make_particles_larger() -> None:
    rng, d, side = np.random.default_rng(5), naive.sphere_d_um2_s(60.0), 16.0
    at = naive.brownian_um(rng, 4000, 30, d, DT, 0.0, 0.0) + rng.uniform(-8, side + 8, (4000, 1, 2))
    inside = np.all((at > 0) & (at < side), axis=2)  # who leaves is not followed over the edge
    runs = []
    for path, seen in zip(at, inside, strict=True):
        rows = np.split(np.arange(30), np.flatnonzero(np.diff(seen)) + 1)
        runs += [path[some] for some in rows if seen[some[0]] and len(some) > 1]
    count = np.array([len(run) for run in runs])
    x, y = np.concatenate(runs).T.copy()
    frame = np.concatenate([np.arange(n) for n in count])
    steps = Steps(x, y, frame, np.zeros(len(x)), np.append(0, np.cumsum(count)), np.arange(len(count)))
    coefficients = d * np.linspace(0.8, 1.15, 71)

    def likeliest(model: SharedModel) -> float:
        return float(coefficients[model.loglik(steps, coefficients).sum(axis=0).argmax()] / d)

    endless = SharedModel(DT, np.array([np.inf]), floor_um=0.0, factor=1.0, exposure_s=0.0, wrong_share=0.0)
    assert likeliest(endless) < 0.98
    assert likeliest(replace(endless, field_um=(side, side))) == pytest.approx(1.0, abs=0.015)
    # read at a stride, each step is of several that were not lost
    half = replace(endless, field_um=(side, side), dt_s=2 * DT, stride=2)
    other = steps.strided(2)
    assert coefficients[half.loglik(other, coefficients).sum(axis=0).argmax()] / d == pytest.approx(1.0, abs=0.03)
