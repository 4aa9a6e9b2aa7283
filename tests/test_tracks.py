from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nta.flags import Flag
from nta.kernels.tracks import sort_spots
from nta.settings import Settings
from nta.spots import Spots
from nta.trackpy_links import _cut_improbable
from nta.tracks import Tracks, link_spots

both_engines = pytest.mark.parametrize("engine", ["nta", "trackpy"])


def link(spots: Spots, **options: Any) -> Tracks:
    return link_spots(spots, naive.calibration(), 0.89, Settings().with_options(**options))


def spots_of(paths: list[np.ndarray], **columns: Any) -> tuple[Spots, np.ndarray]:
    """Return shuffled spots of (n, 3) paths of frame, x, y, and the path each spot is of."""
    rows = np.concatenate(paths)
    owner = np.repeat(np.arange(len(paths)), [len(p) for p in paths])
    mixed = np.random.default_rng(0).permutation(len(rows))
    order = mixed[np.argsort(rows[mixed, 0], kind="stable")]
    snr = columns.pop("snr", np.full(len(rows), 20.0))
    return naive.make_spots(*rows[order].T, snr=snr[order], **columns), owner[order]


def walk(
    rng: np.random.Generator, n: int, at: tuple[float, float], step: float = 1.0, first: int = 0, flow: Any = (0.0, 0.0)
) -> np.ndarray:
    steps = rng.normal(scale=step, size=(n, 2)) + flow
    steps[0] = 0
    return np.column_stack([first + np.arange(n), at + np.cumsum(steps, axis=0)])


def members(tracks: Tracks) -> list[set[tuple[int, float]]]:
    """Return each track as a set of (frame, x)."""
    rows = list(zip(tracks.spots.frame.tolist(), tracks.spots.x_px.tolist(), strict=True))
    return [set(rows[a:b]) for a, b in pairwise(tracks.start)]


def tally(tracks: Tracks, spots: Spots) -> None:
    """Check that every spot is in exactly one track, with all that was known of it, and the frames of a track ascend."""
    assert tracks.start[0] == 0
    assert tracks.start[-1] == len(spots) == len(tracks.spots)
    assert np.all(tracks.n_spots > 0)
    for i in range(len(tracks)):
        assert np.all(np.diff(tracks.spots.frame[tracks.start[i] : tracks.start[i + 1]]) > 0)
    for name in Spots.ROWS:
        assert np.array_equal(np.sort(getattr(tracks.spots, name)), np.sort(getattr(spots, name)))
    assert tracks.spots.n_frames == spots.n_frames


@both_engines
def test_particles_far_apart_are_linked_whole(engine: str) -> None:
    rng = np.random.default_rng(21)
    paths = [walk(rng, 30, (100.0 * i, 100.0 * j)) for i in range(1, 6) for j in range(1, 5)]
    spots, _ = spots_of(paths)
    tracks = link(spots, engine=engine)
    tally(tracks, spots)
    assert len(tracks) == 20
    assert np.array_equal(tracks.n_spots, np.full(20, 30))
    assert not tracks.flags.any()
    assert sorted(map(min, members(tracks))) == sorted((0, p[0, 1]) for p in paths)
    assert np.array_equal(tracks.track_of_spot, np.repeat(np.arange(20), 30))


@both_engines
def test_two_that_cross_are_kept_apart_by_their_brightness(engine: str) -> None:
    n = 31
    frame = np.arange(n)
    jitter = np.random.default_rng(2).normal(scale=0.3, size=(4, n))
    left = np.column_stack([frame, 150 + 1.5 * (frame - 15.3) + jitter[0], 100 + jitter[1]])
    right = np.column_stack([frame, 150 - 1.5 * (frame - 15.3) + jitter[2], 101 + jitter[3]])
    rng = np.random.default_rng(3)
    bystanders = [walk(rng, n, (100.0 * i, 300.0), 1.5) for i in range(1, 6)]
    snr = np.concatenate([np.full(n, 15.0), np.full(n, 90.0), np.full(5 * n, 30.0)]) * np.exp(0.05 * rng.normal(size=7 * n))
    spots, owner = spots_of([left, right, *bystanders], snr=snr)
    tracks = link(spots, engine=engine)
    tally(tracks, spots)
    # the crossing pair: no track holds spots of both
    of = {(int(f), float(x)): int(o) for f, x, o in zip(spots.frame, spots.x_px, owner, strict=True)}
    for track in members(tracks):
        assert len({of[spot] for spot in track}) == 1
    assert sorted(tracks.n_spots)[-7:] == [n] * 7


@both_engines
def test_a_missed_detection_is_bridged_where_it_is_sparse(engine: str) -> None:
    rng = np.random.default_rng(4)
    paths = [walk(rng, 20, (120.0 * i, 120.0 * j)) for i in range(1, 5) for j in range(1, 4)]
    paths[0] = np.delete(paths[0], 9, axis=0)
    paths[1] = np.delete(paths[1], [9, 10], axis=0)
    spots, _ = spots_of(paths)
    tracks = link(spots, engine=engine)
    tally(tracks, spots)
    assert tracks.chosen["gap_frames"].value == 1
    # one missed frame is bridged, two are not
    assert sorted(tracks.n_spots) == [9, 9, 19] + [20] * 10


@both_engines
def test_no_gap_is_bridged_where_it_is_crowded(engine: str) -> None:
    rng = np.random.default_rng(5)
    paths = [walk(rng, 20, (20.0 * i, 20.0 * j)) for i in range(1, 13) for j in range(1, 13)]
    spots, _ = spots_of(paths, area_px=260.0 * 260.0)
    assert link(spots, engine=engine).chosen["gap_frames"].value == 0


@both_engines
@pytest.mark.parametrize("flow", [(5.0, 0.0), (-3.9, 0.4), (0.0, 6.0)])
def test_flow_of_several_pixels_a_frame_is_followed(flow: tuple[float, float], engine: str) -> None:
    # a syringe pump; 15 particles at a time, each in view for a while
    rng = np.random.default_rng(6)
    paths = []
    for _ in range(60):
        start = rng.uniform([0, 0], [640, 480])
        paths.append(walk(rng, 25, (start[0], start[1]), 1.2, first=int(rng.integers(0, 76)), flow=flow))
    spots, owner = spots_of(paths, n_frames=100)
    tracks = link(spots, engine=engine)
    tally(tracks, spots)
    assert tracks.chosen["flow_x_px"].value == pytest.approx(flow[0], abs=0.15)
    assert tracks.chosen["flow_y_px"].value == pytest.approx(flow[1], abs=0.15)
    of = {(int(f), float(x)): int(o) for f, x, o in zip(spots.frame, spots.x_px, owner, strict=True)}
    pure = sum(len(t) for t in members(tracks) if len({of[s] for s in t}) == 1)
    assert pure > 0.97 * len(spots)
    assert 60 <= np.count_nonzero(tracks.n_spots >= 5) <= 66


@both_engines
def test_a_spot_that_nobody_claims_is_a_flagged_track_of_one(engine: str) -> None:
    rng = np.random.default_rng(7)
    paths = [walk(rng, 12, (100.0, 100.0)), walk(rng, 3, (300.0, 300.0)), walk(rng, 1, (500.0, 100.0), first=5)]
    spots, _ = spots_of(paths)
    tracks = link(spots, engine=engine)
    tally(tracks, spots)
    order = np.argsort(tracks.n_spots)
    assert list(tracks.n_spots[order]) == [1, 3, 12]
    assert list(tracks.flags[order]) == [Flag.UNLINKED, Flag.TOO_SHORT, 0]
    assert link(spots, engine=engine, min_frames=3).flags[order].tolist() == [Flag.UNLINKED, 0, 0]
    assert link(spots, engine=engine, min_frames=13).flags[order].tolist() == [Flag.UNLINKED, Flag.TOO_SHORT, Flag.TOO_SHORT]


@both_engines
def test_min_frames_counts_the_track_that_just_meets_it(engine: str) -> None:
    spots, _ = spots_of([walk(np.random.default_rng(8), 5, (100.0, 100.0)), walk(np.random.default_rng(9), 4, (300.0, 100.0))])
    assert sorted(link(spots, engine=engine).flags) == [0, Flag.TOO_SHORT]


@both_engines
@pytest.mark.parametrize("n_frames", [1, 50])
def test_no_spots_make_no_tracks(n_frames: int, engine: str) -> None:
    spots = naive.make_spots([], [], [], n_frames=n_frames)
    tracks = link(spots, engine=engine)
    assert len(tracks) == 0
    assert list(tracks.start) == [0]
    assert tracks.start.dtype == np.int64
    assert tracks.flags.dtype == np.uint32
    assert tracks.spots.n_frames == n_frames
    assert tracks.chosen["min_frames"].value == 5


@both_engines
@pytest.mark.parametrize("frame", [[0], [0, 1], [3, 9], [0, 0, 0], [7, 7, 8]])
def test_a_handful_of_spots_is_linked_without_fuss(frame: list[int], engine: str) -> None:
    spots = naive.make_spots(frame, 100 + 50.0 * np.arange(len(frame)), np.full(len(frame), 50.0), n_frames=10)
    tally(link(spots, engine=engine), spots)


@both_engines
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 8))
@settings(max_examples=15)
def test_every_spot_is_in_one_track_whatever_comes(engine: str, seed: int, n: int, n_frames: int) -> None:
    rng = np.random.default_rng(seed)
    spots = naive.make_spots(
        rng.integers(0, n_frames, n),
        rng.uniform(0, 100, n),
        rng.uniform(0, 100, n),
        n_frames=n_frames,
        area_px=1e4,
        snr=rng.uniform(5, 50, n),
    )
    tally(link(spots, engine=engine), spots)


def test_an_improbable_step_is_cut() -> None:
    rng = np.random.default_rng(10)
    # twenty particles that step 1 px; one whose last half is a stranger's, 9 px away
    paths = [walk(rng, 24, (100.0 * i, 100.0 * j)) for i in range(1, 6) for j in range(1, 5)]
    paths[0][12:, 1] += 9.0
    spots, owner = spots_of(paths)
    cut = _cut_improbable(spots, owner, np.zeros((spots.n_frames, 2)))
    assert len(np.unique(cut)) == 21
    first = spots.frame[owner == 0]
    assert set(cut[owner == 0][first < 12]).isdisjoint(cut[owner == 0][first >= 12])
    for other in range(1, 20):
        assert len(np.unique(cut[owner == other])) == 1


def test_probable_steps_are_left_alone_at_every_size() -> None:
    rng = np.random.default_rng(11)
    # Brownian particles of 30 to 3000 nm, 40 frames each: 2e-4 of 11700 steps may go
    paths = [walk(rng, 40, (30.0 * (i % 20), 30.0 * (i // 20)), step=float(s)) for i, s in enumerate(10 ** rng.uniform(-0.5, 0.5, 300))]
    spots, owner = spots_of(paths)
    cuts = len(np.unique(_cut_improbable(spots, owner, np.zeros((spots.n_frames, 2))))) - 300
    assert 0 <= cuts < 12
    # and in a flow no more
    drifting = [p + np.column_stack([np.zeros(40), 8.0 * p[:, 0], -5.0 * p[:, 0]]) for p in paths]
    flowing, owner = spots_of(drifting)
    assert len(np.unique(_cut_improbable(flowing, owner, np.outer(np.arange(40), [8.0, -5.0])))) - 300 == cuts


def test_frames_that_stand_twice_cut_nothing() -> None:
    # half of all steps are exactly zero, then all of them
    for path in (np.repeat([0.0, 1.2, 0.7, 2.0, 1.1, 1.9], 2), np.zeros(12)):
        paths = [np.column_stack([np.arange(12), 100.0 * i + path, path]) for i in range(1, 8)]
        spots, owner = spots_of(paths)
        assert len(np.unique(_cut_improbable(spots, owner, np.zeros((spots.n_frames, 2))))) == 7


@both_engines
def test_search_range_reaches_four_sd_of_30_nm_when_there_is_room(engine: str) -> None:
    spots, _ = spots_of([walk(np.random.default_rng(13), 10, (300.0, 200.0))])
    chosen = link(spots, engine=engine).chosen["search_range_px"].value
    step_px = np.sqrt(2 * naive.sphere_d_um2_s(30.0) * 0.04 / 0.166**2 + 2 * 0.1**2)
    assert chosen == pytest.approx(4 * step_px, rel=1e-3)


@both_engines
def test_tracks_are_numbered_by_their_first_spot_whatever_is_in_memory(engine: str) -> None:
    # trackpy keeps points in sets, in the order of their addresses: those that begin in one frame come in any order
    rng = np.random.default_rng(14)
    n, n_frames = 900, 30
    places = rng.uniform(0, 150, (n, 2))
    spots = naive.make_spots(np.repeat(np.arange(n_frames), n // n_frames), *places.T, area_px=150.0 * 150.0, snr=rng.uniform(5, 50, n))
    row = {spot: i for i, spot in enumerate(zip(spots.frame.tolist(), spots.x_px.tolist(), strict=True))}
    one = link(spots, engine=engine)
    first = one.start[:-1]
    rows = [row[spot] for spot in zip(one.spots.frame[first].tolist(), one.spots.x_px[first].tolist(), strict=True)]
    assert rows == sorted(rows)
    churn = []
    for size in (11, 577, 1203):
        churn.append([object() for _ in range(size)])
        again = link(spots, engine=engine)
        assert again.start.tobytes() == one.start.tobytes()
        assert again.spots.x_px.tobytes() == one.spots.x_px.tobytes()


def without_frames(spots: Spots, lost: list[int]) -> Spots:
    """Return what is left when frames repeat the one before: nothing in them."""
    keep = ~np.isin(spots.frame, lost)
    return replace(spots, repeats=np.array(lost), **{name: getattr(spots, name)[keep] for name in Spots.ROWS})


@both_engines
@pytest.mark.parametrize("flow", [(0.0, 0.0), (5.0, -2.0)])
@pytest.mark.parametrize("lost", [[7], [3, 4, 15], list(range(1, 20, 2))])
def test_a_step_across_a_repeat_is_one_of_two_frames(lost: list[int], flow: tuple[float, float], engine: str) -> None:
    rng = np.random.default_rng(15)
    paths = [walk(rng, 20, (120.0 * i, 120.0 * j), flow=flow) for i in range(1, 6) for j in range(1, 5)]
    spots = without_frames(spots_of(paths)[0], lost)
    tracks = link(spots, engine=engine)
    tally(tracks, spots)
    # true frame numbers, and no track ends at a repeat
    assert np.array_equal(tracks.n_spots, np.full(20, 20 - len(lost)))
    for i in range(20):
        assert tracks.spots.frame[tracks.start[i] : tracks.start[i + 1]].tolist() == [f for f in range(20) if f not in lost]
    # 20 particles, 19 frames: 0.05 px a frame
    assert tracks.chosen["flow_x_px"].value == pytest.approx(flow[0], abs=0.25)
    assert tracks.chosen["flow_y_px"].value == pytest.approx(flow[1], abs=0.25)
    assert tracks.notices == ()


@both_engines
def test_repeats_use_up_no_gap(engine: str) -> None:
    # crowded: no missed detection is bridged, a repeat is
    rng = np.random.default_rng(5)
    paths = [walk(rng, 20, (20.0 * i, 20.0 * j)) for i in range(1, 13) for j in range(1, 13)]
    spots = without_frames(spots_of(paths, area_px=260.0 * 260.0)[0], [9])
    tracks = link(spots, engine=engine)
    assert tracks.chosen["gap_frames"].value == 0
    before, after = (set(tracks.track_of_spot[tracks.spots.frame == f].tolist()) for f in (8, 10))
    assert len(before & after) > 130


@both_engines
def test_tracks_end_where_frames_are_missing(engine: str) -> None:
    rng = np.random.default_rng(17)
    paths = [walk(rng, 60, (60.0 * i, 60.0 * j)) for i in range(1, 13) for j in range(1, 11)]
    for path in paths:
        path[30:, 1:] += rng.normal(scale=np.sqrt(2), size=2)  # two frames were lost
    spots, _ = spots_of(paths)
    tracks = link(spots, engine=engine)
    tally(tracks, spots)
    assert [notice.code for notice in tracks.notices] == ["dropped_frames"]
    assert "about 2 (before frame 30)" in tracks.notices[0].message
    first, last = tracks.spots.frame[tracks.start[:-1]], tracks.spots.frame[tracks.start[1:] - 1]
    assert not np.any((first < 30) & (last >= 30))
    whole = link(spots_of([p[:30] for p in paths])[0], engine=engine)
    assert whole.notices == ()


def test_a_track_is_one_particle_by_all_its_links() -> None:
    rng = np.random.default_rng(17)
    # two that keep each other company, two that are alone
    paths = [walk(rng, 20, at, 1.5) for at in ((100.0, 100.0), (100.5, 100.0), (300.0, 300.0), (500.0, 100.0))]
    spots, _ = spots_of(paths)
    tracks = link(spots)
    assert np.all(tracks.link_chance[tracks.start[:-1]] == 1)
    assert tracks.one_particle == pytest.approx([np.prod(tracks.link_chance[a:b]) for a, b in pairwise(tracks.start)])
    lonely = tracks.spots.x_px[tracks.start[:-1]] > 200
    assert np.all(tracks.one_particle[lonely] > 0.97)
    assert np.all(tracks.one_particle[~lonely] < 0.95)
    assert np.all(np.isnan(link(spots, engine="trackpy").one_particle[tracks.n_spots > 1]))


def test_spots_are_ordered_by_track_by_hand() -> None:
    start, order = np.empty(4, np.int64), np.empty(6, np.int64)
    sort_spots(np.array([0, 1, 0, 2, 1, 0]), start, order)
    assert start.tolist() == [0, 3, 5, 6]
    assert order.tolist() == [0, 2, 5, 1, 4, 3]
