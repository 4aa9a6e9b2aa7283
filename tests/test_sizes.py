from __future__ import annotations

import naive
import numpy as np
import pytest

from nta.diffusion import Diffusion, size_grid_nm
from nta.flags import Flag
from nta.sizes import find_sizes


def diffusion_of(track: list[int], d: list[float], low: list[float], high: list[float], p_fit: float = 1.0) -> Diffusion:
    n, grid = len(track), size_grid_nm()
    nothing = np.zeros(n)
    return Diffusion(
        np.array(track, np.int64),
        np.array(d),
        np.array(low),
        np.array(high),
        np.full(n, 9),
        grid,
        np.zeros((n, len(grid)), np.float32),
        *[nothing] * 4,
        np.full(n, p_fit),
        490.7,
    )


def test_fastest_is_smallest_by_hand() -> None:
    tracks = naive.make_tracks([(range(10), range(10), range(10))] * 4, n_frames=10)
    tracks.flags[:] = [0, int(Flag.TOO_SHORT), 0, int(Flag.SATURATED)]
    sizes = find_sizes(tracks, diffusion_of([0, 2, 3], [4.907, 0.0, 0.4907], [2.4535, 0.0, 0.0], [9.814, 1.0, 0.9814]))
    assert len(sizes) == 4
    assert sizes.diameter_nm == pytest.approx([100, np.nan, np.nan, 1000], nan_ok=True)
    assert sizes.low_nm == pytest.approx([50, np.nan, 490.7, 500], nan_ok=True)
    # no motion is possible: as large as can be
    assert sizes.high_nm == pytest.approx([200, np.nan, np.inf, np.inf], nan_ok=True)
    assert list(sizes.flags) == [0, Flag.TOO_SHORT, Flag.NO_MOTION_RESOLVED, Flag.SATURATED]


@pytest.mark.parametrize(("chance", "flags"), [(0.0011, 0), (0.0009, Flag.POOR_FIT)])
def test_a_track_that_fits_badly_is_flagged_and_keeps_its_size(chance: float, flags: int) -> None:
    tracks = naive.make_tracks([(range(10), range(10), range(10))], n_frames=10)
    sizes = find_sizes(tracks, diffusion_of([0], [4.907], [2.0], [9.0], chance))
    assert list(sizes.flags) == [flags]
    assert sizes.diameter_nm == pytest.approx([100.0])


def test_flags_of_the_tracks_are_left_alone() -> None:
    tracks = naive.make_tracks([(range(10), range(10), range(10))], n_frames=10)
    find_sizes(tracks, diffusion_of([0], [0.0], [0.0], [1.0]))
    assert not tracks.flags.any()


def test_nothing_sized_is_nan_everywhere() -> None:
    tracks = naive.make_tracks([([0], [1.0], [1.0])], n_frames=3)
    sizes = find_sizes(tracks, diffusion_of([], [], [], []))
    assert np.isnan([sizes.diameter_nm, sizes.low_nm, sizes.high_nm]).all()
    assert list(sizes.flags) == [Flag.UNLINKED]
    assert len(find_sizes(naive.make_tracks([], n_frames=3), diffusion_of([], [], [], []))) == 0
