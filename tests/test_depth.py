from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from scipy.special import ndtr

from nta.depth import DEPTH_CELLS, Depth
from nta.view import View

DT = 0.04
D = np.array([naive.sphere_d_um2_s(d) for d in (30.0, 100.0, 1000.0)])
PEAKS = np.array([0.4, 1.0, 2.0])


def expected_of(view: View, width: float, d: np.ndarray, log_peak: np.ndarray) -> np.ndarray:
    return Depth.of(view, width, d, log_peak).expected(view.staying(d))


def seen_at(z: np.ndarray, log_peak: float, view: View, width: float) -> np.ndarray:
    """Return the chance to be detected at depth z in a Gaussian sheet."""
    return (1 - view.missed_share) * ndtr(view.threshold_snr * (np.exp(log_peak - 0.5 * (z / width) ** 2) - 1))


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
    n, width = 5000, 2.5
    view = naive.make_view(gap_frames=gap, missed_share=miss)
    expected = expected_of(view, width, D, PEAKS)
    assert expected.shape == (51, 3)
    assert np.all(expected >= 0)
    rng = np.random.default_rng(gap)
    for k, d in enumerate(D):
        depth = 2 * (width * math.sqrt(2 * PEAKS[k]) + 5 * math.sqrt(2 * d * DT * 50))
        z = diffuse_through(rng, n, d, depth, 50)
        seen = rng.random(z.shape) < seen_at(z, PEAKS[k], view, width)
        # of five frames or more, only those of five spots
        tracks = [(last - first + 1, row[first : last + 1].sum()) for row in seen for first, last in runs(row, gap)]
        spans = np.array([span for span, spots in tracks if span < 5 or spots >= 5])
        per_um = depth / n
        # whole videos and those that lack a frame at an end stand for themselves: large particles make hardly any other
        for low, high in ((1, 2), (2, 5), (5, 10), (10, 20), (20, 47), (47, 50), (50, 51)):
            count = int(np.count_nonzero((spans >= low) & (spans < high)))
            predicted = float(expected[low:high, k].sum()) / per_um
            # tracks of one particle are not independent: twice Poisson's variance; and 3 % for the cells of the model
            assert count == pytest.approx(predicted, abs=4 * math.sqrt(2 * predicted + 1) + 0.03 * predicted), (k, low)
        assert spans.sum() * per_um == pytest.approx(float(np.arange(51) @ expected[:, k]), rel=0.07)


@pytest.mark.parametrize("miss", [0.0, 0.2])
def test_every_detection_is_in_one_track(miss: float) -> None:
    # without gaps, lengths times numbers are the detections: frames times the depth integral of the chance to be seen
    view = naive.make_view(n_frames=40, missed_share=miss)
    expected = expected_of(view, 2.5, D, PEAKS)
    z = np.linspace(-30, 30, 60001)
    for k in range(3):
        detections = 40 * np.trapezoid(seen_at(z, PEAKS[k], view, 2.5), z)
        assert np.arange(41) @ expected[:, k] == pytest.approx(detections, rel=0.01)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 17, 40])
@pytest.mark.parametrize("gap", [0, 1])
def test_powers_of_a_step_are_as_good_as_many_steps(gap: int, n_frames: int) -> None:
    view = naive.make_view(n_frames=n_frames, gap_frames=gap, missed_share=0.08, min_frames=1)
    expected = expected_of(view, 2.5, D, PEAKS)
    for k, d in enumerate(D):
        slow = naive.expected_spans(d, PEAKS[k], 5.0, 2.5, 0.08, DT, n_frames, gap, DEPTH_CELLS)
        assert expected[:, k] == pytest.approx(slow, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("width", [2.0, 1e6])
def test_at_rest_or_in_an_endless_sheet_lengths_are_those_of_independent_chances(width: float) -> None:
    view = naive.make_view(n_frames=30, missed_share=0.1)
    d = np.array([1e-9]) if width < 10 else D
    expected = expected_of(view, width, d, np.full(len(d), 1.5)) / width
    z = np.linspace(-6, 6, 24001)
    s = seen_at(z, 1.5, view, 1.0)
    for n in range(5, 30):
        by_hand = np.trapezoid((30 - n - 1) * s**n * (1 - s) ** 2 + 2 * s**n * (1 - s), z)
        assert expected[n] == pytest.approx(np.full(len(d), by_hand), rel=0.03, abs=1e-3)
    assert expected[30] == pytest.approx(np.full(len(d), np.trapezoid(s**30, z)), rel=0.03)
    assert np.all(expected[0] == 0)


def test_who_is_always_seen_is_seen_in_every_frame() -> None:
    # so bright that the sheet has sharp edges, so deep that nobody crosses them
    view = naive.make_view(n_frames=20, gap_frames=1, threshold_snr=1e4)
    expected = expected_of(view, 1e6, D, np.full(3, 4.0))
    assert expected[20] / 1e6 == pytest.approx(np.full(3, 2 * math.sqrt(8.0)), rel=0.03)
    assert expected[:20].sum() < 1e-3 * expected[20].sum()


def test_missed_detections_break_tracks_as_a_coin_does() -> None:
    # with chance a to be seen, runs of n have probability a^n (1 - a)^2, per frame; at the ends of the video half of that is asked
    a, width = 0.7, 1e6
    depth = 2 * width * math.sqrt(8.0)

    def endless(gap: int) -> np.ndarray:
        view = naive.make_view(n_frames=60, gap_frames=gap, missed_share=1 - a, threshold_snr=1e4, min_frames=1)
        return expected_of(view, width, D[:1], np.array([4.0]))[:, 0] / depth

    plain, bridged = endless(0), endless(1)
    for n in (1, 2, 5, 10):
        assert plain[n] == pytest.approx((60 - n - 1) * a**n * (1 - a) ** 2 + 2 * a**n * (1 - a), rel=0.03)
    rng = np.random.default_rng(0)
    spans = [last - first + 1 for row in rng.random((4000, 60)) < a for first, last in runs(row, 1)]
    counts = np.bincount(spans, minlength=61) / 4000
    for low, high in ((1, 3), (3, 10), (10, 30), (30, 57), (57, 61)):
        error = 4 * math.sqrt(counts[low:high].sum() / 4000)
        assert bridged[low:high].sum() == pytest.approx(counts[low:high].sum(), abs=error + 0.03 * counts[low:high].sum())


def test_who_leaves_the_field_makes_runs_of_those_who_stay() -> None:
    view = naive.make_view(n_frames=30, threshold_snr=1e4, field_um=(40.0, 30.0), flow_um_s=(6.0, 0.0))
    expected = expected_of(view, 1e6, D, np.full(3, 4.0)) / (2e6 * math.sqrt(8.0))
    for k, d in enumerate(D):
        stay = naive.stay_probability(40.0, d, DT, 6.0, 30) * naive.stay_probability(30.0, d, DT, 0.0, 30)
        assert expected[1:, k] == pytest.approx(naive.runs_in_view(stay), rel=0.05, abs=0.02)


def test_broken_links_make_two_tracks_of_one() -> None:
    view = naive.make_view(n_frames=30, threshold_snr=1e4, broken_share=0.05)
    expected = expected_of(view, 1e6, D, np.full(3, 4.0)) / (2e6 * math.sqrt(8.0))
    by_hand = naive.runs_in_view(0.95 ** np.arange(30))
    for k in range(3):
        assert expected[1:, k] == pytest.approx(by_hand, rel=0.05, abs=2e-3)


def test_small_particles_make_more_and_shorter_tracks() -> None:
    view = naive.make_view(n_frames=600, gap_frames=1, missed_share=0.02)
    expected = expected_of(view, 2.5, D, np.full(3, 1.0))
    long_enough = expected[5:].sum(axis=0)
    mean_length = (np.arange(601)[5:] @ expected[5:]) / long_enough
    assert long_enough[0] > 1.5 * long_enough[1] > 3 * long_enough[2]
    assert mean_length[0] < 0.8 * mean_length[1] < 0.4 * mean_length[2]
    # but nobody is in view for more frames than there are
    assert np.all(np.arange(601) @ expected <= 1.15 * 600 * 2 * 2.5 * math.sqrt(2.0) * 1.2)


@pytest.mark.parametrize("log_peak", [-0.1, 0.4, 1.5])
def test_brightness_of_what_is_followed_is_that_of_simulated_particles(log_peak: float) -> None:
    d, width = D[1], 3.0
    view = naive.make_view(n_frames=200, gap_frames=1, missed_share=0.02, light=0.06, exposure_s=0.01)
    depth = Depth.of(view, width, np.array([d]), np.array([log_peak]))
    rng = np.random.default_rng(3)
    z = diffuse_through(rng, 1500, d, 40.0, 200)
    mean = 5.0 * np.exp(log_peak - 0.5 * (z / width) ** 2)
    snr = mean + view.snr_sd(mean, view.smear(d)) * rng.normal(size=z.shape)
    hit = (snr > 5.0) & (rng.random(z.shape) > 0.02)
    followed = np.zeros(z.shape, bool)
    for row, where in zip(hit, followed, strict=True):
        for first, last in runs(row, 1):
            if row[first : last + 1].sum() >= 5:
                where[first : last + 1] = row[first : last + 1]
    assert depth.mean_log_snr()[0] == pytest.approx(np.log(snr[followed] / 5.0).mean(), abs=0.03)
    # frames near the ends of a video belong to tracks that are cut
    inner = followed[:, 20:-20]
    for low, high in ((0.0, 1.0), (1.0, 3.0), (3.0, 6.0)):
        there = (np.abs(z[:, 20:-20]) >= low) & (np.abs(z[:, 20:-20]) < high)
        inside = (depth.z_um[0] >= low) & (depth.z_um[0] < high)
        told = depth.followed()[0][inside].sum() * depth.cell_um[0] / (high - low)
        assert inner[there].mean() == pytest.approx(told, abs=0.04)


@pytest.mark.parametrize(("diameter", "log_peak"), [(60.0, 0.2), (60.0, 1.2), (100.0, 0.2)])
def test_who_moves_fast_while_lit_is_missed_and_the_rest_is_slower(diameter: float, log_peak: float) -> None:
    d, width, spot, lit, parts = naive.sphere_d_um2_s(diameter), 3.5, 0.23, 0.015, 10
    view = naive.make_view(n_frames=100, exposure_s=lit, spot_um=spot)
    told = Depth.of(view, width, np.array([d]), np.array([log_peak])).slowed()[0]
    rng = np.random.default_rng(6)
    n = 2500
    z = diffuse_through(rng, n, d, 24.0, 100)
    # positions at the middles of the parts of each exposure, and the rest of the frame in one step
    steps = rng.normal(size=(n, 100, parts, 2)) * math.sqrt(2 * d * lit / parts)
    steps[:, 1:, 0] += rng.normal(size=(n, 99, 2)) * math.sqrt(2 * d * (DT - lit))
    at = np.cumsum(steps.reshape(n, -1, 2), axis=1).reshape(n, 100, parts, 2)
    height = np.prod((1 + at.var(axis=2) / (2 * spot**2)) ** -0.5, axis=2)
    # the peak is that of the mean smear
    mean = 5.0 * np.exp(log_peak - 0.5 * (z / width) ** 2) * (1 + view.smear(np.array(d)))
    hit = mean * height + rng.normal(size=z.shape) > 5.0
    followed = np.zeros(z.shape, bool)
    for row, where in zip(hit, followed, strict=True):
        for first, last in runs(row, 0):
            where[first : last + 1] = last - first >= 4
    both = followed[:, 1:] & followed[:, :-1]
    square = np.sum(np.diff(at.mean(axis=2), axis=1) ** 2, axis=2)
    seen = 1 - square[both].mean() / square.mean()
    assert told == pytest.approx(seen, abs=0.015)
    assert told > 0


def test_without_an_exposure_nobody_seems_slow() -> None:
    assert np.all(Depth.of(naive.make_view(), 3.0, D, PEAKS).slowed() == 0)


def test_what_smears_is_seen_less_deep() -> None:
    still, moving = (Depth.of(naive.make_view(light=x, exposure_s=0.03), 3.0, D, PEAKS) for x in (0.0, 0.2))
    # with more noise the threshold is blurred: more is seen of what is below it, less of what is above
    assert np.all(moving.seen[:, 0] <= still.seen[:, 0])
