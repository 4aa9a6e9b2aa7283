from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest

from nta.diffusion import Diffusion, find_diffusion
from nta.drift import Drift
from nta.flags import Flag
from nta.swaps import cut_swaps
from nta.tracks import Tracks

CALIBRATION = naive.calibration()
DT, EXPOSURE, SIGMA, PIXEL = 1 / CALIBRATION.fps.value, 0.015, 0.03, CALIBRATION.pixel_size_um.value
FRAMES = 60


def paths(rng: np.random.Generator, diameter: float, n: int) -> np.ndarray:
    """Return (n, FRAMES, 2) places in um."""
    at = naive.brownian_um(rng, n, FRAMES, naive.sphere_d_um2_s(diameter), DT, EXPOSURE, SIGMA)
    return at + rng.uniform(20, 80, (n, 1, 2))


def tracks_of(parts: list[np.ndarray], chance: float) -> tuple[Tracks, Drift, Diffusion]:
    """Return tracks of places in um, whose links in the middle are right with a `chance`, all others surely."""
    tracks = naive.make_tracks(
        [(np.arange(FRAMES), at[:, 0] / PIXEL, at[:, 1] / PIXEL) for at in parts], n_frames=FRAMES, sd_px=SIGMA / PIXEL, gate_px=25.0
    )
    tracks.link_chance[tracks.start[:-1] + FRAMES // 2] = chance
    drift = Drift(np.zeros(FRAMES), np.zeros(FRAMES), FRAMES)
    return tracks, drift, find_diffusion(tracks, drift, CALIBRATION, 0.8900)


def swapped(rng: np.random.Generator, first: float, second: float, n: int) -> list[np.ndarray]:
    """Return tracks that go on, from the middle, as another particle, which is where the first could have been."""
    found = []
    for one, other in zip(paths(rng, first, n), paths(rng, second, n), strict=True):
        half = FRAMES // 2
        found.append(np.concatenate([one[:half], other[half:] - other[half] + one[half]]))
    return found


@pytest.mark.parametrize(("chance", "most", "least"), [(0.6, 40, 36), (0.95, 40, 34), (0.995, 0, 0)])
def test_tracks_of_two_sizes_are_cut_where_a_link_is_in_doubt(chance: float, most: int, least: int) -> None:
    rng = np.random.default_rng(0)
    whole = [*paths(rng, 80.0, 150), *paths(rng, 250.0, 150)]
    tracks, drift, diffusion = tracks_of([*swapped(rng, 80.0, 250.0, 40), *whole], chance)
    cut = cut_swaps(tracks, diffusion, drift, CALIBRATION)
    new = np.setdiff1d(cut.start, tracks.start)
    assert np.all(new % FRAMES == FRAMES // 2)
    assert least <= np.count_nonzero(new < 40 * FRAMES) <= most
    # of those that are one particle hardly any is cut in two
    assert np.count_nonzero(new >= 40 * FRAMES) <= 6
    assert np.all(cut.link_chance[new] == 1.0)
    assert np.array_equal(cut.spots.x_px, tracks.spots.x_px)


def test_particles_of_one_size_are_never_cut() -> None:
    rng = np.random.default_rng(1)
    tracks, drift, diffusion = tracks_of(swapped(rng, 100.0, 100.0, 200), 0.6)
    assert len(cut_swaps(tracks, diffusion, drift, CALIBRATION)) == 200


def test_nothing_is_cut_where_nobody_knows_how_sure_links_are() -> None:
    rng = np.random.default_rng(2)
    tracks, drift, diffusion = tracks_of([*swapped(rng, 60.0, 400.0, 20), *paths(rng, 60.0, 60), *paths(rng, 400.0, 60)], 0.6)
    unknown = replace(tracks, link_chance=np.full(len(tracks.spots), np.nan))
    assert cut_swaps(unknown, diffusion, drift, CALIBRATION) is unknown
    assert cut_swaps(tracks, replace(diffusion, shared=None), drift, CALIBRATION) is tracks
    assert len(cut_swaps(tracks, diffusion, drift, CALIBRATION)) > len(tracks)


def test_a_piece_that_is_too_short_is_flagged() -> None:
    tracks, _, _ = tracks_of(list(paths(np.random.default_rng(3), 100.0, 2)), 1.0)
    cut = tracks.cut(np.array([1, 4, FRAMES + 10]))
    assert cut.n_spots.tolist() == [1, 3, FRAMES - 4, 10, FRAMES - 10]
    assert [int(f) for f in cut.flags] == [int(Flag.UNLINKED), int(Flag.TOO_SHORT), 0, 0, 0]
    assert len(tracks) == 2
