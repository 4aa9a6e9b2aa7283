from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import naive
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from nta.flags import Flag
from nta.settings import Settings
from nta.spots import Spots, find_spots

NOISE = 2.0


def frames_with(
    at: np.ndarray,
    peak: float,
    sigma_px: float = 1.5,
    *,
    level: float = 30.0,
    shape: tuple[int, int] = (128, 160),
    noise: float = NOISE,
    seed: int = 0,
) -> np.ndarray:
    """Return float32 frames with Gaussian spots at (n_frames, n_spots, 2) of (x, y) and white noise."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(shape[0]), np.arange(shape[1])
    frames = level + noise * rng.normal(size=(len(at), *shape))
    for frame, spots in zip(frames, at, strict=True):
        across = np.exp(-((x - spots[:, :1]) ** 2) / (2 * sigma_px**2))
        down = np.exp(-((y - spots[:, 1:]) ** 2) / (2 * sigma_px**2))
        frame += peak * np.einsum("ny,nx->yx", down, across)
    return frames.astype(np.float32)


def scattered(n_frames: int, n_spots: int = 12, shape: tuple[int, int] = (128, 160), seed: int = 1) -> np.ndarray:
    """Return places at least 16 px apart and 10 px from the rim, new ones in each frame."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        places: list[np.ndarray] = []
        while len(places) < n_spots:
            new = rng.uniform(10, [shape[1] - 11, shape[0] - 11])
            if all(math.dist(new, p) > 16 for p in places):
                places.append(new)
        frames.append(places)
    return np.array(frames)


def find(frames: np.ndarray, ceiling: float | None = None, threads: int = 1, **options: Any) -> Spots:
    video: Any = naive.ArrayVideo(frames, ceiling)
    return find_spots(video, Settings().with_options(**options), threads)


def matched(found: Spots, at: np.ndarray, reach_px: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of the spot found near each true place (-1 for none), and the true places, in one order."""
    rows = []
    for i, places in enumerate(at):
        here = np.flatnonzero(found.frame == i)
        for x, y in places:
            distance = np.hypot(found.x_px[here] - x, found.y_px[here] - y)
            rows.append(here[distance.argmin()] if len(here) and distance.min() < reach_px else -1)
    return np.array(rows), at.reshape(-1, 2)


@pytest.mark.parametrize("peak", [60.0, -60.0])
@pytest.mark.parametrize(("sigma_px", "n_spots"), [(1.1, 12), (1.5, 12), (2.4, 5)])
def test_every_spot_is_found_where_it_is_with_its_polarity_width_and_height(peak: float, sigma_px: float, n_spots: int) -> None:
    at = scattered(24, n_spots)
    found = find(frames_with(at, peak, sigma_px, level=100.0))
    rows, truth = matched(found, at)
    assert np.all(rows >= 0)
    assert len(rows) <= len(found) <= len(rows) + 8  # 2.4 false ones expected
    assert found.chosen["polarity"].value == ("bright" if peak > 0 else "dark")
    assert found.chosen["spot_width_px"].value == pytest.approx(sigma_px, rel=0.1)
    assert np.median(found.width_px) == pytest.approx(sigma_px, rel=0.1)
    assert np.median(found.signal) == pytest.approx(60.0, rel=0.1)
    error = np.concatenate([found.x_px[rows] - truth[:, 0], found.y_px[rows] - truth[:, 1]])
    # Cramer-Rao for a Gaussian spot in white noise: sqrt(2 / pi) noise / peak
    bound = math.sqrt(2 / math.pi) * NOISE / 60.0
    assert 0.85 * bound < np.sqrt(np.mean(error**2)) < 1.4 * bound
    assert abs(error.mean()) < 4 * bound * 1.4 / math.sqrt(len(error))
    assert np.median(np.concatenate([found.x_sd_px, found.y_sd_px])) == pytest.approx(bound, rel=0.15)
    # SNR of a matched filter: peak * width * sqrt(pi) / noise
    assert np.median(found.snr) == pytest.approx(60 * sigma_px * math.sqrt(math.pi) / NOISE, rel=0.12)


def test_stated_error_follows_the_signal() -> None:
    at = scattered(24, 16)
    for peak in (12.0, 200.0):
        found = find(frames_with(at, peak))
        rows, truth = matched(found, at, 1.5)
        assert np.mean(rows >= 0) > 0.97
        good = rows[rows >= 0]
        z = np.concatenate([found.x_px[good] - truth[rows >= 0, 0], found.y_px[good] - truth[rows >= 0, 1]])
        z /= np.concatenate([found.x_sd_px[good], found.y_sd_px[good]])
        assert 0.8 < np.sqrt(np.mean(z**2)) < 1.5
        assert np.mean(np.abs(z) < 4) > 0.99


def test_positions_do_not_lock_on_pixels() -> None:
    at = scattered(60, 16, seed=3)
    found = find(frames_with(at, 25.0))
    rows, _ = matched(found, at)
    for found_px, true_px in ((found.x_px, at[..., 0].ravel()), (found.y_px, at[..., 1].ravel())):
        phase = found_px[rows] % 1
        n = len(phase)
        # Kolmogorov-Smirnov against a uniform phase at 0.1 %
        assert np.abs(np.sort(phase) - (np.arange(n) + 0.5) / n).max() < 1.95 / math.sqrt(n)
        # and no error that goes with the phase
        error = found_px[rows] - true_px
        for wave in (np.sin, np.cos):
            assert abs(np.mean(error * wave(2 * np.pi * true_px))) < 4 * error.std() / math.sqrt(2 * n)


@pytest.mark.parametrize("kind", ["float", "8 bit"])
def test_a_video_of_noise_has_the_false_spots_asked_for(kind: str) -> None:
    frames = frames_with(np.zeros((40, 0, 2)), 0.0, shape=(160, 200), noise=2.0 if kind == "float" else 1.5, seed=9)
    found = find(frames if kind == "float" else np.rint(frames).astype(np.uint8), false_spots_per_frame=2.0)
    assert 40 * 2.0 / 3 < len(found) < 40 * 2.0 * 3
    assert np.all(found.snr >= found.chosen["threshold_snr"].value * 0.999)
    few = find(frames if kind == "float" else np.rint(frames).astype(np.uint8), false_spots_per_frame=0.02)
    assert len(few) <= 5


def test_uneven_background_moves_and_makes_no_spots() -> None:
    at = scattered(24)
    y, x = np.mgrid[:128, :160]
    light = 40 * np.cos(x / 90) * np.sin(y / 70) + 0.3 * x
    found = find(frames_with(at, 60.0) + light.astype(np.float32))
    rows, truth = matched(found, at)
    assert np.all(rows >= 0)
    assert len(found) - len(rows) <= 8
    error = np.concatenate([found.x_px[rows] - truth[:, 0], found.y_px[rows] - truth[:, 1]])
    assert abs(error.mean()) < 0.01
    assert error.std() < 0.045  # 1.5 times what the noise allows
    assert found.background == pytest.approx(np.full(24, np.median(light + 30)), abs=2)


def test_light_that_changes_during_the_video_makes_no_spots() -> None:
    at = scattered(24)
    x = np.arange(160, dtype=np.float32)[None, None, :]
    flicker = (np.linspace(-10, 10, 24)[:, None, None] * (1 + 0.004 * x)).astype(np.float32)
    found = find(frames_with(at, 60.0) + flicker)
    rows, _ = matched(found, at)
    assert np.all(rows >= 0)
    assert len(found) - len(rows) <= 8
    assert np.corrcoef(found.background, flicker.mean(axis=(1, 2)))[0, 1] > 0.99


def test_hot_pixels_and_stuck_particles_are_no_spots() -> None:
    at = scattered(40, 8)
    frames = frames_with(at, 60.0)
    rng = np.random.default_rng(5)
    frames[:, rng.integers(5, 120, 20), rng.integers(5, 150, 20)] += 150
    stuck = np.broadcast_to(np.array([[[60.3, 50.8]]]), (40, 1, 2))
    frames += frames_with(stuck, 90.0, level=0.0, noise=0.0)
    found = find(frames)
    rows, truth = matched(found, at)
    assert np.mean(rows >= 0) > 0.97
    assert len(found) - np.count_nonzero(rows >= 0) <= 10
    away = np.hypot(found.x_px - 60.3, found.y_px - 50.8)
    near_truth = np.any(np.hypot(truth[:, 0] - 60.3, truth[:, 1] - 50.8) < 4)
    assert near_truth or np.count_nonzero(away < 3) <= 2


def test_noise_that_differs_over_the_field_makes_no_spots() -> None:
    frames = frames_with(np.zeros((30, 0, 2)), 0.0, shape=(192, 256), seed=6)
    frames = 30 + (frames - 30) * np.linspace(1, 4, 256, dtype=np.float32)
    found = find(frames, false_spots_per_frame=2.0)
    assert 60 / 3 < len(found) < 60 * 3
    assert 0.2 < np.mean(found.x_px > 128) < 0.8


@pytest.mark.parametrize("kind", ["bright", "dark"])
def test_saturated_spots_are_flagged(kind: str) -> None:
    at = scattered(24, 6)
    bright = frames_with(at[:, :3], 300.0, level=100.0) + frames_with(at[:, 3:], 60.0, level=0.0, noise=0.0)
    frames = np.clip(np.rint(bright if kind == "bright" else 255 - bright), 0, 255).astype(np.uint8)
    found = find(frames, ceiling=255.0)
    flagged = found.flags & np.uint32(Flag.SATURATED) > 0
    over, _ = matched(found, at[:, :3])
    under, _ = matched(found, at[:, 3:])
    assert np.all(over >= 0)
    assert np.all(under >= 0)
    assert np.all(flagged[over])
    assert not np.any(flagged[under])
    assert not find(frames.astype(np.float32), ceiling=None).flags.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("level", [0, 200])
def test_flat_frames_have_no_spots(dtype: type, level: int) -> None:
    found = find(np.full((30, 64, 80), level, dtype), ceiling=255.0)
    assert len(found) == 0
    assert found.n_frames == 30
    assert found.background == pytest.approx(np.full(30, level))
    assert not found.noise.any()
    assert [getattr(found, name).dtype for name in Spots.ROWS] == [
        getattr(find(np.zeros((2, 64, 80), dtype)), name).dtype for name in Spots.ROWS
    ]


def test_rows_are_ordered_by_frame_and_the_same_on_one_and_two_threads() -> None:
    at = scattered(40)
    frames = np.rint(frames_with(at, 30.0)).astype(np.uint8)
    calls: list[tuple[str, int, int]] = []
    one = find(frames, ceiling=255.0)
    video: Any = naive.ArrayVideo(frames, 255.0)
    two = find_spots(video, Settings(), 2, lambda *call: calls.append(call))
    assert np.all(np.diff(one.frame) >= 0)
    for name in (*Spots.ROWS, "background", "noise"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert one.chosen == two.chosen
    assert calls[-1] == ("find spots", 40, 40)
    assert [done for _, done, _ in calls] == sorted({done for _, done, _ in calls})


@pytest.mark.parametrize(
    ("scale", "offset", "dtype"), [(1 / 255, 0.0, np.float32), (200.0, 0.0, np.uint16), (1e4, -3e5, np.float32), (1e6, 0.0, np.uint32)]
)
def test_grey_levels_have_no_unit(scale: float, offset: float, dtype: type) -> None:
    # a 32-bit float video is often scaled to 0..1, a 16-bit one to 0..65535
    at = scattered(24)
    frames: np.ndarray = (frames_with(at, 60.0).astype(np.float64) * scale + offset).astype(dtype)
    found = find(frames)
    rows, truth = matched(found, at)
    assert np.all(rows >= 0)
    assert len(found) - len(rows) <= 8
    assert np.median(found.signal) == pytest.approx(60 * scale, rel=0.1)
    assert np.std(found.x_px[rows] - truth[:, 0]) < 0.04


def test_polarity_can_be_forced() -> None:
    at = scattered(24)
    frames = frames_with(at, 60.0, level=100.0)
    found = find(frames, polarity="dark")
    assert found.chosen["polarity"].value == "dark"
    assert found.chosen["polarity"].source == "option"
    rows, _ = matched(found, at)
    assert not np.any(rows >= 0)


def test_a_short_video_is_searched_without_a_background() -> None:
    at = scattered(5)
    found = find(frames_with(at, 60.0))
    rows, _ = matched(found, at)
    assert np.all(rows >= 0)
    assert len(found) - len(rows) <= 2


def test_area_leaves_out_the_rim() -> None:
    found = find(np.zeros((3, 64, 80), np.uint8))
    # nothing seen: width 1.5, so a rim of 1 + 3 px on all sides
    assert found.area_px == (64 - 8) * (80 - 8)
    at = np.random.default_rng(2).uniform([-2, -2], [162, 130], (30, 40, 2))
    inside = find(frames_with(at, 80.0))
    margin = 1 + math.ceil(2 * inside.chosen["spot_width_px"].value)
    for found_px, size in ((inside.x_px, 160), (inside.y_px, 128)):
        assert found_px.min() > margin - 1
        assert found_px.max() < size - margin
    assert inside.area_px == (160 - 2 * margin) * (128 - 2 * margin)


def test_a_slow_particle_is_not_taken_for_background() -> None:
    # 1000 nm in water at 25 frames a second and 0.166 um a pixel, filmed for 10 s
    step_px, n_frames = 1.2, 250
    rng = np.random.default_rng(12)
    home = np.array([(x, y) for x in (24.0, 62.0, 98.0, 136.0) for y in (26.0, 64.0, 102.0)])
    at = home + np.cumsum(rng.normal(scale=step_px, size=(n_frames, 12, 2)), axis=0) * (np.arange(n_frames) > 0)[:, None, None]
    at = np.clip(at, 9, [150, 118])
    found = find(frames_with(at, 90.0))
    rows, _ = matched(found, at, 1.5)
    both = rows.reshape(n_frames, 12)
    kept = (both[1:] >= 0) & (both[:-1] >= 0)
    assert kept.mean() > 0.95
    seen, true = (np.stack([c[both[1:]] - c[both[:-1]] for c in (found.x_px, found.y_px)], axis=-1)[kept], np.diff(at, axis=0)[kept])
    # the size goes as one over the mean squared step
    assert np.mean(seen**2) / np.mean(true**2) == pytest.approx(1, abs=0.05)


def codes(found: Spots) -> list[str]:
    return [notice.code for notice in found.notices]


def test_a_repeated_frame_has_no_spots_of_its_own() -> None:
    at = scattered(30)
    frames = np.rint(frames_with(at, 60.0)).astype(np.uint8)
    plain = find(frames)
    assert (plain.repeats.tolist(), codes(plain)) == ([], [])
    assert plain.distinct.tolist() == list(range(30))
    for i in (4, 5, 20):
        frames[i] = frames[i - 1]
    found = find(frames, threads=2)
    assert found.repeats.tolist() == [4, 5, 20]
    assert found.repeats.dtype == np.int64
    assert found.distinct.tolist() == [i for i in range(30) if i not in (4, 5, 20)]
    assert np.unique(found.frame).tolist() == found.distinct.tolist()
    assert found.n_frames == len(found.noise) == 30
    assert len({len(getattr(found, name)) for name in Spots.ROWS}) == 1
    assert codes(found) == ["duplicated_frames"]
    assert "3 of 30 frames repeat the one before" in found.notices[0].message
    assert "frame rate" not in found.notices[0].message


def test_frames_that_stand_twice_hint_at_the_frame_rate() -> None:
    frames = np.repeat(np.rint(frames_with(scattered(20), 60.0)).astype(np.uint8), 2, axis=0)
    found = find(frames)
    assert found.repeats.tolist() == list(range(1, 40, 2))
    assert found.notices[0].message.endswith("the camera's frame rate seems to be 50 % of the file's")


@pytest.mark.parametrize("n", [2, 40])
def test_one_picture_all_the_time(n: int) -> None:
    found = find(np.repeat(np.rint(frames_with(scattered(1), 60.0)).astype(np.uint8), n, axis=0))
    assert found.repeats.tolist() == list(range(1, n))
    assert np.all(found.frame == 0)
    assert codes(found) == ["duplicated_frames"]
    assert f"all {n} frames are the same" in found.notices[0].message


@pytest.mark.parametrize("change", ["one pixel by one grey level", "nothing to see"])
def test_what_is_no_repeat(change: str) -> None:
    frames = np.rint(frames_with(scattered(24), 60.0)).astype(np.uint8)
    if change == "nothing to see":
        frames[8:12] = 0  # a dark camera without noise
    else:
        frames[9] = frames[8]
        frames[9, 0, 0] += 1
    found = find(frames)
    assert (found.repeats.tolist(), codes(found)) == ([], [])


def test_many_stuck_particles_and_hot_pixels_are_no_spots_and_hide_none() -> None:
    # as many as in a dirty cell: 30 stuck particles and 50 hot pixels
    shape, n_frames = (200, 240), 40
    at = scattered(n_frames, 12, shape)
    rng = np.random.default_rng(15)
    stuck = rng.uniform(8, [shape[1] - 9, shape[0] - 9], (30, 2))
    frames = frames_with(at, 60.0, shape=shape)
    for place, peak in zip(stuck, rng.uniform(20, 120, 30), strict=True):
        frames += frames_with(np.broadcast_to(place, (1, 1, 2)), peak, level=0.0, noise=0.0, shape=shape)
    frames[:, rng.integers(5, 195, 50), rng.integers(5, 235, 50)] += rng.uniform(40, 200, 50).astype(np.float32)
    found = find(frames)
    rows, truth = matched(found, at)
    assert np.mean(rows >= 0) > 0.98
    # 4 false ones are asked for
    assert len(found) - np.count_nonzero(rows >= 0) <= 12
    # not one stuck particle is seen again and again
    others = np.setdiff1d(np.arange(len(found)), rows)
    for x, y in stuck:
        assert np.count_nonzero(np.hypot(found.x_px[others] - x, found.y_px[others] - y) < 3) <= 2
    good = rows >= 0
    error = np.concatenate([found.x_px[rows[good]] - truth[good, 0], found.y_px[rows[good]] - truth[good, 1]])
    # the still image leaves a 30th of the noise's variance; where a stuck one is cut off at the ends, a little more
    assert 0.85 < np.median(np.abs(error)) / 0.6745 / (math.sqrt(2 / math.pi) * NOISE / 60.0) < 1.3


@pytest.mark.parametrize(("peak", "chance"), [(3.2, 0.4), (4.0, 0.78), (5.0, 0.977)])
def test_faint_spots_are_found_as_often_as_noise_lets_them(peak: float, chance: float) -> None:
    at = scattered(40, 14)
    at[1:] = at[:-1].copy()[np.random.default_rng(3).permutation(39)]
    bright = scattered(40, 2, seed=9)  # to tell the width by
    found = find(frames_with(at, peak) + frames_with(bright, 80.0, level=0.0, noise=0.0))
    near_bright = np.array([[min(math.dist(p, q) for q in bright[i]) < 14 for p in at[i]] for i in range(40)]).ravel()
    rows, _ = matched(found, at)
    recall = np.mean(rows[~near_bright] >= 0)
    # a normal SNR of SD 1; still image and the feet of spots add some 7 % to the noise that is told
    snr, threshold = 0.93 * peak * 1.5 * math.sqrt(math.pi) / NOISE, found.chosen["threshold_snr"].value
    expected = 0.5 * (1 + math.erf((snr + 0.1 - threshold) / math.sqrt(2)))
    assert expected == pytest.approx(chance, abs=0.12)
    assert recall == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("false_spots", [0.2, 3.0])
def test_noise_of_few_photons_has_the_false_spots_asked_for(false_spots: float) -> None:
    frames = np.random.default_rng(16).poisson(6.0, (80, 160, 200)).astype(np.uint8)
    found = find(frames, false_spots_per_frame=false_spots)
    # within a factor of 2, and Poisson
    asked = 80 * false_spots
    assert asked / 2 - 3 * math.sqrt(asked / 2) < len(found) < 2 * asked + 3 * math.sqrt(2 * asked)
    assert abs(np.mean(found.x_px) - 99.5) < 4 * 55 / math.sqrt(max(len(found), 1))


@pytest.mark.parametrize(("n_spots", "least"), [(40, 0.96), (90, 0.93)])
def test_crowds_are_told_apart(n_spots: int, least: float) -> None:
    # 90 in 128 x 160 px: on average 6.4 px from the next, if they avoided each other
    at = np.random.default_rng(4).uniform(10, [149, 117], (20, n_spots, 2))
    found = find(frames_with(at, 60.0))
    hits = 0
    for i, places in enumerate(at):
        here = np.column_stack([found.x_px, found.y_px])[found.frame == i]
        away = np.hypot(*(here[:, None] - places).transpose(2, 0, 1))
        a, b = linear_sum_assignment(np.minimum(away, 3.0))
        hits += np.count_nonzero(away[a, b] < 2.0)
    precision, recall = hits / len(found), hits / (20 * n_spots)
    assert precision > 0.97
    # closer than a width two are one: 2.3 px^2 pi a spot
    lost = n_spots / (109 * 141) * math.pi * 1.5**2 / 2
    assert least < 2 * precision * recall / (precision + recall) < 1 - 0.5 * lost


def test_pairs_among_single_spots_are_told_apart() -> None:
    # two of a kind 3.5 px apart, in all directions and at all phases, and five single ones for each pair
    rng = np.random.default_rng(17)
    places, along = scattered(40, 12), rng.uniform(0, math.pi, (40, 2))
    arm = 1.75 * np.stack([np.cos(along), np.sin(along)], axis=-1)
    pairs = np.concatenate([places[:, :2] - arm, places[:, :2] + arm], axis=1)
    found = find(frames_with(np.concatenate([pairs, places[:, 2:]], axis=1), 60.0))
    rows, _ = matched(found, pairs, 1.5)
    assert np.mean(rows >= 0) > 0.95
    assert len(set(rows[rows >= 0])) > 0.95 * len(rows)
    assert len(found) <= 40 * 14 + 10


def test_the_field_has_its_area_and_the_shape_of_where_spots_are() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(10, 630, 500), rng.uniform(10, 470, 500)
    wide, high = naive.make_spots(np.arange(500), x, y, area_px=620.0 * 460.0).field_um(0.5)
    assert wide == pytest.approx(310, rel=0.01)
    assert high == pytest.approx(230, rel=0.01)
    # a few spots close together do not make a small field
    wide, high = naive.make_spots([0, 1], [50.0, 52.0], [70.0, 70.5], area_px=620.0 * 460.0).field_um(0.5)
    assert wide * high == pytest.approx(310 * 230)


def test_spots_are_counted_a_frame_that_is_no_repeat() -> None:
    spots = naive.make_spots([0, 0, 1, 3], [1.0, 2, 3, 4], [1.0, 2, 3, 4], n_frames=5)
    assert spots.per_frame == pytest.approx(4 / 5)
    assert replace(spots, repeats=np.array([2])).per_frame == pytest.approx(4 / 4)
