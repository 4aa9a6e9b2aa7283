from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest

from nta.cadence import Cadence, find_cadence
from nta.kernels import tracks as kernels
from nta.spots import Spots

N_FRAMES = 120


def film(
    rng: np.random.Generator,
    n: int,
    *,
    lost: dict[int, int] | None = None,
    shaken_px: float = 0.0,
    flow_px: float = 0.0,
    late: float = 0.0,
    n_frames: int = N_FRAMES,
) -> tuple[Spots, np.ndarray]:
    """Return spots of `n` particles of 1 to 20 in diffusion coefficient, in tracks of 30 frames, and the particle of each spot.

    `lost` frames are missing before some; `late` is the share of a step that a frame shows one frame later, but every 12th catches up.
    """
    times = np.arange(n_frames) + np.cumsum([(lost or {}).get(i, 0) for i in range(n_frames)])
    lapse = np.diff(times, prepend=-1)[:, None, None]
    steps = rng.normal(size=(n_frames, n, 2)) * np.sqrt(lapse) * rng.uniform(0.5, 2.2, n)[:, None]
    at = np.cumsum(steps, axis=0) + rng.normal(scale=0.1, size=steps.shape) + shaken_px * rng.normal(size=(n_frames, 1, 2))
    at += flow_px * times[:, None, None]
    for i in range(1, n_frames):
        at[i] += late * (at[i - 1] - at[i]) * (i % 12 > 0)
    frame = np.repeat(np.arange(n_frames), n)
    particle = np.tile(np.arange(n), n_frames) + n * (frame // 30)
    return naive.make_spots(frame, at[..., 0].ravel(), at[..., 1].ravel()), particle


def by_track(spots: Spots, particle: np.ndarray) -> tuple[Spots, np.ndarray]:
    """Return spots ordered by track, then frame, and where each track begins."""
    order = np.lexsort((spots.frame, particle))
    start = np.append(np.flatnonzero(np.diff(particle[order], prepend=-1)), len(order))
    return replace(spots, **{name: getattr(spots, name)[order] for name in Spots.ROWS}), start


def cadence_of(spots: Spots, particle: np.ndarray) -> Cadence:
    return find_cadence(*by_track(spots, particle))


@pytest.mark.parametrize("moved", [{}, {"shaken_px": 3.0}, {"flow_px": 4.0}])
@pytest.mark.parametrize("n", [4, 12, 40])
def test_a_regular_clock_raises_no_alarm(n: int, moved: dict[str, float]) -> None:
    rng = np.random.default_rng(1)
    alarms = sum(len(cadence_of(*film(rng, n, **moved)).gaps) > 0 for _ in range(12))
    # one in 200 is allowed for; two of twelve would come once in 600 runs
    assert 0 <= alarms < 2


def test_lost_frames_are_found_and_counted() -> None:
    lost = {20: 1, 55: 2, 100: 4}
    found = cadence_of(*film(np.random.default_rng(2), 300, lost=lost))
    assert found.gaps.tolist() == [20, 55, 100]
    assert found.missing.tolist() == [1, 2, 4]
    assert [notice.code for notice in found.notices()] == ["dropped_frames"]
    assert "about 7 (at 3 places, the first before frame 20)" in found.notices()[0].message


def test_a_lost_frame_is_found_the_surer_the_more_particles_there_are() -> None:
    shares = []
    for n in (12, 30, 100):
        rng = np.random.default_rng(3)
        videos = [cadence_of(*film(rng, n, lost={40: 1, 80: 1})).gaps for _ in range(10)]
        assert all(set(gaps.tolist()) <= {40, 80} for gaps in videos)
        shares.append(sum(len(gaps) for gaps in videos) / 20)
    # M links know the mean squared step to 1 / sqrt(M); the limit lies 4 of these above the mean
    assert 0 <= shares[0] < 0.3
    assert 0.1 < shares[1] < 0.8
    assert 0.8 < shares[2] <= 1


def test_a_jolt_of_the_stage_is_no_lost_frame() -> None:
    spots, particle = film(np.random.default_rng(4), 60)
    spots.x_px[spots.frame >= 50] += 6.0
    assert cadence_of(spots, particle).gaps.tolist() == []


def test_known_repeats_are_no_lost_frames() -> None:
    spots, particle = film(np.random.default_rng(5), 200)
    repeats = np.array([10, 40, 41, 77])
    keep = ~np.isin(spots.frame, repeats)
    some = replace(spots, repeats=repeats, **{name: getattr(spots, name)[keep] for name in Spots.ROWS})
    assert cadence_of(some, particle[keep]).gaps.tolist() == []


def test_key_frames_of_a_compressed_video_are_no_lost_frames() -> None:
    assert cadence_of(*film(np.random.default_rng(6), 300, late=0.5)).gaps.tolist() == []


def test_cut_by_hand() -> None:
    frame, start = np.array([0, 1, 2, 3, 1, 3, 2, 3]), np.array([0, 4, 6, 8])
    assert Cadence(np.array([2]), np.array([1])).cut(frame, start).tolist() == [0, 2, 4, 5, 6, 8]
    assert Cadence(np.array([1, 3]), np.array([1, 1])).cut(frame, start).tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
    assert Cadence().cut(frame, start) is start
    assert Cadence().notices() == ()


def test_sums_over_steps_equal_the_twins() -> None:
    rng = np.random.default_rng(8)
    spots, particle = film(rng, 6, n_frames=40, late=0.3, shaken_px=1.0)
    # some spots are missed, three frames repeat others
    repeats = np.array([5, 20, 21])
    keep = (rng.random(len(particle)) > 0.1) & ~np.isin(spots.frame, repeats)
    some = replace(spots, repeats=repeats, **{name: getattr(spots, name)[keep] for name in Spots.ROWS})
    ordered, start = by_track(some, particle[keep])
    number = np.zeros(40, np.int64)
    number[some.distinct] = np.arange(37)
    written = np.empty(37, np.int64), np.empty(37), np.empty(37), np.empty(2)
    kernels.sum_steps(ordered.x_px, ordered.y_px, ordered.frame, number, start, 3, *written)
    twin = naive.sum_steps(ordered.x_px, ordered.y_px, number[ordered.frame], ordered.frame, start, 3, 37)
    assert written[0].sum() > 100
    for ours, theirs in zip(written, twin, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("frame", [[], [0], [0, 1, 2], [0] * 30, [*range(12)] * 20])
def test_little_or_nothing_that_moves_tells_nothing(frame: list[int]) -> None:
    spots = naive.make_spots(frame, np.zeros(len(frame)), np.zeros(len(frame)), n_frames=12)
    # twenty of a frame at most: each its own particle, or twenty that stand still
    particle = np.arange(len(frame)) % max(20, frame.count(0))
    assert len(cadence_of(spots, particle).gaps) == 0
