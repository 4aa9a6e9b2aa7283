from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import naive
import numpy as np
import pytest

from nta.drift import Drift
from nta.steps import covariances, gather_steps, shortest_stride
from nta.tracks import Tracks


def still(tracks: Tracks) -> Drift:
    n = tracks.spots.n_frames
    return Drift(np.zeros(n), np.zeros(n), 31)


@pytest.mark.parametrize(("seed", "diameter_nm"), [(1, 30.0), (2, 300.0), (3, 2000.0)])
def test_free_diffusion_is_read_frame_by_frame(seed: int, diameter_nm: float) -> None:
    tracks = naive.brownian_tracks(np.random.default_rng(seed), 150, 30, naive.sphere_d_um2_s(diameter_nm))
    assert shortest_stride(gather_steps(tracks, still(tracks), 0.166), exposed=0.375) == (1, 0.0)


def test_covariances_by_hand() -> None:
    # x: 0 1 3 2, one step of +1, +2, -1; y at rest
    tracks = naive.make_tracks(
        [(range(4), [0, 1, 3, 2], [0, 0, 0, 0]), ([0, 1, 3, 4, 5], [5, 6, 99, 100, 100], [0, 0, 0, 0, 0])], n_frames=6
    )
    steps = gather_steps(replace(tracks, flags=np.zeros(2, np.uint32)), still(tracks), 1.0)
    lags, _, error = covariances(steps)
    # the step over the gap counts for nothing; both axes share: (1 + 4 + 1 + 1 + 1 + 0) / 2 / 6
    assert lags[0] == pytest.approx(8 / 2 / 6)
    # pairs (1, 2), (2, -1), and of the second track only (1, 0)
    assert lags[1] == pytest.approx((2 - 2 + 0) / 2 / 3)
    assert lags[2] == pytest.approx(1 * -1 / 2)
    assert lags[3] == 0
    assert math.isinf(error)


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
