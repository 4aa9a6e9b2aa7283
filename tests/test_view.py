from __future__ import annotations

import math

import naive
import numpy as np
import pytest

from nta.view import find_view

D = np.array([naive.sphere_d_um2_s(d) for d in (30.0, 100.0, 1000.0)])


@pytest.mark.parametrize("flow", [0.0, 8.0])
def test_staying_in_the_field_is_exact_where_no_walk_is_as_long(flow: float) -> None:
    view = naive.make_view(n_frames=30, field_um=(60.0, 40.0), flow_um_s=(flow, 0.0))
    stay = view.staying(D)
    assert stay.shape == (31, 3)
    for k, d in enumerate(D):
        exact = naive.stay_probability(60.0, d, 0.04, flow, 30) * naive.stay_probability(40.0, d, 0.04, 0.0, 30)
        assert stay[1:, k] == pytest.approx(exact, rel=2e-3, abs=1e-3)


def test_nobody_leaves_an_endless_field_and_everybody_a_tiny_one() -> None:
    assert naive.make_view().staying(D) == pytest.approx(1.0, abs=1e-9)
    stay = naive.make_view(field_um=(0.1, 0.1)).staying(D[:1])[:, 0]
    assert list(stay[:2]) == [1.0, 1.0]
    assert np.all(stay[10:] == 0)


def test_visitors_of_the_field_are_those_who_come_by() -> None:
    view, rng = naive.make_view(n_frames=100, field_um=(60.0, 40.0), flow_um_s=(3.0, 0.0)), np.random.default_rng(5)
    for d, told in zip(D, view.visiting(D), strict=True):
        wide = np.array([200.0, 160.0])
        at = rng.uniform(-wide / 2, wide / 2, (30000, 2))[:, None]
        at = at + np.cumsum(rng.normal(scale=math.sqrt(2 * d * 0.04), size=(30000, 100, 2)) + np.array([0.12, 0.0]), axis=1)
        # over many fields' widths all is even: who ends outside of the area has come in on the other side
        folded = np.mod(at + wide / 2, wide) - wide / 2
        came = np.mean(np.any(np.all(np.abs(folded) < np.array([30.0, 20.0]), axis=2), axis=1))
        assert told == pytest.approx(came * wide.prod() / 2400, rel=0.05)


def test_a_walk_lowers_and_scatters_a_spot_as_simulated() -> None:
    # the matched filter shows a smeared spot lower by sqrt(2 s^2 / (2 s^2 + S)) along each axis, S the variance of the walk
    view = naive.make_view(exposure_s=0.015, spot_um=0.23)
    rng = np.random.default_rng(0)
    x = view.smear(D)
    assert x[1] == pytest.approx(4.907 * 0.015 / (6 * 0.23**2), rel=1e-3)
    for d, mean in zip(D[:2], x[:2], strict=True):
        walk = np.cumsum(rng.normal(scale=math.sqrt(2 * d * 0.015 / 200), size=(4000, 2, 200)), axis=2)
        height = np.prod(np.sqrt(2 * 0.23**2 / (2 * 0.23**2 + walk.var(axis=2))), axis=1)
        # for the smallest the mean of the inverse is 8 % above the inverse of the mean
        assert height.mean() == pytest.approx(1 / (1 + mean), rel=0.1)
        assert view.snr_sd(np.array([50.0]), np.array([mean]))[0] == pytest.approx(math.hypot(1, 50 * np.log(height).std()), rel=0.06)


def clear_tracks(rng: np.random.Generator, missed: float, broken: float, snr: float = 40.0) -> tuple[object, np.ndarray]:
    """Return tracks of clear particles at rest in the middle of a field, one frame in a while missed, links broken in a while."""
    paths = []
    for _ in range(200):
        frames = np.flatnonzero(rng.random(200) > missed)
        cut = np.flatnonzero((np.diff(frames) > 2) | (rng.random(len(frames) - 1) < broken)) + 1
        x, y = rng.uniform(200, 400, 2)
        paths += [(part, np.full(len(part), x), np.full(len(part), y)) for part in np.split(frames, cut)]
    corner = [(np.arange(5), np.full(5, 0.0), np.full(5, 0.0)), (np.arange(5), np.full(5, 600.0), np.full(5, 600.0))]
    tracks = naive.make_tracks(paths + corner, n_frames=200, gap=1, gate_px=20.0, snr=snr, area_px=601.0**2)
    return tracks, np.flatnonzero(tracks.n_spots >= 5)


@pytest.mark.parametrize(("missed", "broken"), [(0.0, 0.0), (0.02, 0.0), (0.01, 0.01)])
def test_missed_frames_and_broken_links_are_counted_on_clear_spots(missed: float, broken: float) -> None:
    tracks, rows = clear_tracks(np.random.default_rng(1), missed, broken)
    view = find_view(tracks, rows, naive.calibration(), 0.015, 5)  # type: ignore[arg-type]
    assert view.missed_share == pytest.approx(missed, abs=0.002)
    # two missed in succession end a track as well, but break no link
    assert view.broken_share == pytest.approx(broken, abs=0.0015)
    assert (view.threshold_snr, view.gap_frames, view.min_frames, view.n_frames) == (5.0, 1, 5, 200)
    assert view.field_um == pytest.approx((601 * 0.166, 601 * 0.166))


def test_dim_spots_tell_nothing_and_guesses_stand() -> None:
    tracks, rows = clear_tracks(np.random.default_rng(1), 0.2, 0.1, snr=6.0)
    view = find_view(tracks, rows, naive.calibration(), 0.015, 5)  # type: ignore[arg-type]
    assert view.missed_share == pytest.approx(0.01)
    assert view.broken_share == pytest.approx(0.002, abs=2e-4)
    assert view.light == 0.0


@pytest.mark.parametrize("light", [0.0, 0.08])
def test_the_noise_of_light_is_read_from_the_errors_of_bright_spots(light: float) -> None:
    rng = np.random.default_rng(2)
    snr = rng.uniform(5, 60, 2000)
    # photons weigh 4/9 in a place, 2/3 in a height
    error = 1.5 * np.sqrt(1 + light / 1.5 * snr) / snr * rng.normal(1, 0.05, 2000)
    tracks = naive.make_tracks([(np.arange(2000), np.arange(2000.0), np.zeros(2000))], n_frames=2000, snr=snr, sd_px=0.1)
    tracks.spots.x_sd_px[:] = error * tracks.spots.width_px
    view = find_view(tracks, np.array([0]), naive.calibration(), 0.015, 5)
    assert view.light == pytest.approx(light, abs=0.01)


@pytest.mark.parametrize("hard", [False, True])
def test_light_has_fallen_by_a_peak_where_that_is_no_longer_seen(hard: bool) -> None:
    tracks, rows = clear_tracks(np.random.default_rng(6), 0.01, 0.002)
    view = find_view(tracks, rows, naive.calibration(exposure_ms=0.0), 0.0, 5)
    view = view.hardened() if hard else view
    log_peak = np.array([0.1, 1.0, 3.0])
    assert view.fall(view.reach(log_peak)) == pytest.approx(log_peak)
    # a Gaussian, or next to nothing within and everything beyond
    assert view.fall(np.array([0.8, 1.0, 1.25])) == pytest.approx([0.0004, 0.5, 631.0] if hard else [0.32, 0.5, 0.78125], rel=0.05)
