from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import naive
import numpy as np
import pytest

from nta.drift import Drift
from nta.steps import Stride, covariances, gather_steps, shortest_stride
from nta.tracks import Tracks


def still(tracks: Tracks) -> Drift:
    n = tracks.spots.n_frames
    return Drift(np.zeros(n), np.zeros(n), 31)


@pytest.mark.parametrize(("seed", "diameter_nm"), [(1, 30.0), (2, 300.0), (3, 2000.0)])
def test_free_diffusion_is_read_frame_by_frame(seed: int, diameter_nm: float) -> None:
    tracks = naive.brownian_tracks(np.random.default_rng(seed), 150, 30, naive.sphere_d_um2_s(diameter_nm))
    assert shortest_stride(gather_steps(tracks, still(tracks), 0.166), exposed=0.375) == Stride(1)


def test_covariances_by_hand() -> None:
    # x: 0 1 3 2, one step of +1, +2, -1; y at rest
    tracks = naive.make_tracks(
        [(range(4), [0, 1, 3, 2], [0, 0, 0, 0]), ([0, 1, 3, 4, 5], [5, 6, 99, 100, 100], [0, 0, 0, 0, 0])], n_frames=6
    )
    steps = gather_steps(replace(tracks, flags=np.zeros(2, np.uint32)), still(tracks), 1.0)
    lags, errors = covariances(steps)
    # the step over the gap counts for nothing; both axes share: (1 + 4 + 1 + 1 + 1 + 0) / 2 / 6
    assert lags[0] == pytest.approx(8 / 2 / 6)
    # pairs (1, 2), (2, -1), and of the second track only (1, 0)
    assert lags[1] == pytest.approx((2 - 2 + 0) / 2 / 3)
    assert lags[2] == pytest.approx(1 * -1 / 2)
    assert lags[3] == 0
    assert np.isinf(errors).all()


def filtered(tracks: Tracks, over: int) -> Tracks:
    """Replace each position by the mean of the last `over`, as a temporal noise filter does; tracks lose their first frames."""
    kernel, spots = np.ones(over) / over, tracks.spots
    pieces = [(spots.x_px[a:b], spots.y_px[a:b], spots.frame[a:b]) for a, b in pairwise(tracks.start)]
    rows = [(f[over - 1 :], np.convolve(x, kernel, "valid"), np.convolve(y, kernel, "valid")) for x, y, f in pieces]
    made = naive.make_tracks(rows, n_frames=spots.n_frames)
    return replace(made, flags=np.zeros(len(made), np.uint32))


@pytest.mark.parametrize("over", [3, 5, 8])
def test_a_filter_in_time_is_outlasted_and_the_motion_kept(over: int) -> None:
    d_um2_s = naive.sphere_d_um2_s(100.0)
    tracks = filtered(naive.brownian_tracks(np.random.default_rng(over), 300, 60, d_um2_s), over)
    steps = gather_steps(tracks, still(tracks), 0.166)
    stride = shortest_stride(steps, exposed=0.375)
    # at half the filter's length the steps two apart are those of a parabola's end: (1 - over / stride)^3 of what they were
    assert over / 2 < stride.frames <= 2 * over
    assert stride.settled
    assert 0 < stride.doubt < 0.1
    lags, errors = covariances(steps.strided(stride.frames))
    diffusive, error = lags[0] + 2 * lags[1], 2 * errors[0] + lags[0] * math.sqrt(stride.frames / len(steps.frame))
    # a running mean is an exposure as long as itself, and C0 + 2 C1 does not know of it
    assert diffusive == pytest.approx(2 * d_um2_s * 0.04 * stride.frames, abs=4 * error)
    assert lags[1] / diffusive == pytest.approx(over / stride.frames / 6, abs=0.06)


def test_steps_that_never_come_free_say_so() -> None:
    # every particle goes its own way at a steady pace: all steps of a track are alike
    rng = np.random.default_rng(5)
    pace = rng.normal(size=(60, 2))
    tracks = naive.make_tracks([(range(100), v[0] * np.arange(100.0), v[1] * np.arange(100.0)) for v in pace], n_frames=100)
    tracks = replace(tracks, flags=np.zeros(60, np.uint32))
    stride = shortest_stride(gather_steps(tracks, still(tracks), 0.166), exposed=0.375)
    assert not stride.settled
    assert stride.doubt > 0.5


def test_what_went_with_a_vibration_is_given_back() -> None:
    tracks = naive.brownian_tracks(np.random.default_rng(1), 40, 20, naive.sphere_d_um2_s(100.0))
    whole = gather_steps(tracks, still(tracks), 0.166)
    given = gather_steps(tracks, replace(still(tracks), diffusion_share=0.04), 0.166)
    assert covariances(given)[0] == pytest.approx(covariances(whole)[0] / 0.96)


def test_sub_tracks_of_a_stride_by_hand() -> None:
    tracks = naive.make_tracks([([3, 4, 5, 7, 8], [0, 1, 2, 4, 5], [0, 0, 0, 0, 0])], n_frames=9)
    steps = gather_steps(tracks, still(tracks), 1.0)
    two = steps.strided(2)
    # frames 3, 5, 7 and 4, 8, counted in strides from the first
    assert [list(two.x_um[a:b]) for a, b in pairwise(two.start)] == [[0, 2, 4], [1, 5]]
    assert [list(two.frame[a:b]) for a, b in pairwise(two.start)] == [[0, 1, 2], [0, 2]]
    assert list(two.owner) == [0, 0]
    assert len(steps.strided(6).owner) == 0
    assert steps.strided(1) is steps
