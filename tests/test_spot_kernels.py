from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import maxima_of

from nta.kernels import doubles, fit, maxima, spots
from nta.kernels.frame import CRUMBS
from nta.matched import Light, MatchedFilter, Seen

WIDTH = 1.5
SHAPE = (64, 72)
NONE = np.empty((0, 0), np.float32)


def scene(*places: tuple[float, float, float], seed: int | None = 0, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Return noise of SD 1 with round spots of x, y and peak; no noise without a seed."""
    frame = np.zeros(shape) if seed is None else np.random.default_rng(seed).normal(size=shape)
    for x, y, peak in places:
        frame = frame + peak * naive.gaussian(x, y, WIDTH, shape)
    return np.asarray(frame, np.float32)


def fitted(
    frame: np.ndarray,
    threshold: float = 6.0,
    *,
    stretch: float = 0.0,
    light: float = 0.0,
    misfit: float = 0.01,
    prior: float = 1 / 0.1**2,
    most: np.ndarray = NONE,
    backwards: bool = False,
) -> np.ndarray:
    """Return the spots of a frame of noise 1, by the kernels themselves; their model must be zero afterwards."""
    matched = MatchedFilter(WIDTH, np.zeros(frame.shape, np.float32), 1)
    seen = matched.see(frame, np.full(matched.tiles, matched.noise_gain, np.float32))
    level = np.zeros_like(seen.level)
    noise = np.full(matched.grid, matched.noise_gain, np.float32)
    found = maxima_of(matched, Seen(frame, seen.filtered, level, seen.variance), noise, threshold)
    found = np.ascontiguousarray(found[::-1] if backwards else found)
    model = np.zeros(frame.shape, np.float32)
    capacity = 2 * len(found) + 1
    rows, tells = np.full((capacity, fit.COLUMNS), np.nan), np.full((capacity, fit.DIAGNOSTICS), np.nan)
    out = matched.rim_px, rows, tells, np.empty(capacity, np.int64), np.empty(capacity, np.uint8)
    told = 1 / matched.noise_gain, threshold, WIDTH, light, misfit
    n = spots.fit_spots(frame, model, most, found, len(found), *told, prior, *out)
    if math.isfinite(stretch):
        doubtful = np.empty(n, np.int64)
        m = doubles.find_doubtful(rows, n, WIDTH, stretch, doubtful)
        n = doubles.look_again(frame, model, most, found, *told, stretch, prior, *out, n, doubtful, m)
    lone = out[-1]
    in_model = model.copy()
    expected = naive.add_gaussians(np.zeros_like(frame), *rows[:n][lone[:n] == 0][:, [fit.X, fit.Y, fit.WIDTH, fit.PEAK]].T)
    assert in_model == pytest.approx(expected, abs=0.012 * max(rows[:n, fit.PEAK].max(initial=1.0), 1.0))
    spots.wipe(model, rows, lone, n, math.ceil(CRUMBS * WIDTH))
    assert not model.any()
    assert np.all(np.isfinite(rows[:n]))
    assert np.all(np.isfinite(tells[:n]))
    return rows[:n]


def places(rows: np.ndarray) -> np.ndarray:
    """Return x and y, ordered by x."""
    return rows[np.argsort(rows[:, fit.X])][:, [fit.X, fit.Y]]


# --- sort_rows ---


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.0, 1.0, 1.5, -3.0, 7.0, math.inf])), max_size=80), st.integers(0, 5))
@settings(max_examples=80)
def test_rows_are_sorted_by_their_third_column_and_stay_whole(values: list[tuple[int, float]], more: int) -> None:
    n = len(values)
    rows = np.array([[i, a, v, -i, 2 * a] for i, (a, v) in enumerate(values)] + [[-1, -1, 99.0, -1, -1]] * more, float).reshape(-1, 5)
    before = rows.copy()
    maxima.sort_rows(rows, n)
    assert np.array_equal(rows[:n, 2], np.sort(before[:n, 2])[::-1])
    assert sorted(map(tuple, rows[:n])) == sorted(map(tuple, before[:n]))
    assert np.array_equal(rows[n:], before[n:])
    again = before.copy()
    maxima.sort_rows(again, n)
    assert np.array_equal(again, rows)


# --- has_near ---


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 12), st.floats(0.01, 1.0), st.integers(-1, 45))
@settings(max_examples=80)
def test_neighbours_are_those_of_a_search_through_all(seed: int, n: int, cell: int, share: float, own: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = 37, 53
    rows, columns = height // cell + 1, width // cell + 1
    table = np.zeros((max(n, 1), fit.COLUMNS))
    table[:n, fit.X], table[:n, fit.Y] = rng.uniform(0, width - 1, n), rng.uniform(0, height - 1, n)
    head, following = np.full(rows * columns, -1), np.empty(max(n, 1), np.int64)
    for k in range(n):
        at = int(table[k, fit.Y]) // cell * columns + int(table[k, fit.X]) // cell
        following[k], head[at] = head[at], k
    within = share * cell
    for x, y in rng.uniform(0, [width - 1, height - 1], (10, 2)):
        near = [k for k in range(n) if k != own and math.dist((x, y), table[k, [fit.X, fit.Y]]) < within]
        assert spots.has_near(table, head, following, rows, columns, cell, x, y, within, own) == bool(near)
    # oneself is no neighbour
    if 0 <= own < n:
        x, y = table[own, fit.X], table[own, fit.Y]
        others = np.delete(table[:n], own, axis=0)
        alone = not np.any(np.hypot(others[:, fit.X] - x, others[:, fit.Y] - y) < within)
        assert spots.has_near(table, head, following, rows, columns, cell, x, y, within, own) != alone


# --- fit_spots ---


@pytest.mark.parametrize("stretch", [0.0, 0.05, math.inf])
def test_isolated_spots_are_found_one_by_one(stretch: float) -> None:
    true = [(12.3, 20.8, 60.0), (30.0, 14.5, 20.0), (55.4, 40.1, 200.0), (20.7, 48.2, 90.0)]
    rows = fitted(scene(*true), stretch=stretch)
    assert len(rows) == 4
    # brightest first
    assert rows[:, fit.PEAK] == pytest.approx([200, 90, 60, 20], rel=0.15)
    for x, y, peak in true:
        row = rows[np.argmin(np.hypot(rows[:, fit.X] - x, rows[:, fit.Y] - y))]
        sd = math.sqrt(2 / math.pi) / peak
        assert row[[fit.X, fit.Y]] == pytest.approx([x, y], abs=4 * sd + 1e-3)
        # 1 % of the model is added to the noise of a pixel
        assert row[[fit.X_SD, fit.Y_SD]] == pytest.approx(np.full(2, sd), rel=0.45 if peak > 100 else 0.2)
        assert row[fit.SNR] == pytest.approx(peak * WIDTH * math.sqrt(math.pi), rel=0.15)
        assert row[fit.WIDTH] == pytest.approx(WIDTH, rel=0.12)
        assert row[fit.MISFIT] == pytest.approx(1, abs=5 * math.sqrt(2 / 121))
        assert row[fit.SATURATED] == 0


@pytest.mark.parametrize("apart", [2.5, 3.0, 3.5, 4.0])
@pytest.mark.parametrize("along", [0.0, 0.7, math.pi / 2])
def test_two_equal_bright_spots_are_told_apart(apart: float, along: float) -> None:
    x, y = 35.2 + apart / 2 * math.cos(along) * np.array([-1, 1]), 30.6 + apart / 2 * math.sin(along) * np.array([-1, 1])
    true = np.column_stack([x, y])
    error = []
    for seed in range(5):
        rows = fitted(scene((x[0], y[0], 80.0), (x[1], y[1], 80.0), seed=seed))
        assert len(rows) == 2
        away = rows[:, None, [fit.X, fit.Y]] - true
        nearest = np.argmin(np.hypot(away[..., 0], away[..., 1]), axis=1)
        assert sorted(nearest) == [0, 1]
        error.append(away[[0, 1], nearest])
        assert rows[:, fit.PEAK] == pytest.approx([80, 80], rel=0.25)
    # alone each would be known to 0.01 px, and no pair can be known better; at 2.5 px the bound is 0.035
    assert 0.007 < np.sqrt(np.mean(np.square(error))) < 0.05


@pytest.mark.parametrize("along", [0.0, 1.0, 2.5, 4.4])
def test_a_faint_spot_beside_a_bright_one_is_found(along: float) -> None:
    x, y = 35.0 + 3.5 * math.cos(along), 30.0 + 3.5 * math.sin(along)
    for seed in range(4):
        rows = fitted(scene((35.0, 30.0, 150.0), (x, y, 40.0), seed=seed))
        assert len(rows) == 2
        bright, faint = rows[np.argsort(-rows[:, fit.PEAK])]
        # 5 of the standard errors that are told, which are those of two that overlap
        for row, true in ((bright, (35, 30)), (faint, (x, y))):
            assert 0.004 < row[fit.X_SD] < 0.2
            assert math.dist(row[[fit.X, fit.Y]], true) < 5 * math.hypot(row[fit.X_SD], row[fit.Y_SD])
        assert bright[fit.PEAK] == pytest.approx(150, rel=0.05)
        assert faint[fit.PEAK] == pytest.approx(40, rel=0.15)


def stretched(peak: float, longer: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    return (noise + peak * naive.gaussian(36.2, 30.7, WIDTH, SHAPE, longer=longer, along=0.4)).astype(np.float32)


def test_what_is_as_stretched_as_single_spots_are_is_not_split_but_is_where_they_are_round() -> None:
    numbers = {
        stretch: [len(fitted(stretched(120.0, 0.3, seed), stretch=stretch)) for seed in range(6)] for stretch in (0.0, 0.3, math.inf)
    }
    assert numbers[0.0] == [2] * 6
    assert numbers[0.3] == [1] * 6
    assert numbers[math.inf] == [1] * 6


def test_faint_spots_are_not_split() -> None:
    # at this brightness noise alone stretches a spot by 1 / sqrt(pi peak^2 width^2) = 0.05
    assert [len(fitted(stretched(8.0, 0.05, seed))) for seed in range(12)] == [1] * 12


def test_round_spots_are_not_split() -> None:
    rng = np.random.default_rng(4)
    n = 0
    for seed in range(12):
        true = [(x + rng.uniform(-1, 1), y + rng.uniform(-1, 1), 10 ** rng.uniform(1.2, 2.3)) for x in (12, 36, 60) for y in (12, 32, 52)]
        n += len(fitted(scene(*true, seed=seed)))
    # 1 in 400 is looked at again, and fewer are split
    assert 12 * 9 <= n <= 12 * 9 + 1


@pytest.mark.parametrize("apart", [2.5, 3.0])
def test_infinite_stretch_takes_none_for_two(apart: float) -> None:
    for seed in range(4):
        rows = fitted(scene((34.0, 30.0, 80.0), (34.0 + apart, 30.0, 80.0), seed=seed), stretch=math.inf)
        assert len(rows) == 1
        assert rows[0, [fit.X, fit.Y]] == pytest.approx([34 + apart / 2, 30], abs=0.1)


@pytest.mark.parametrize(("width", "height"), [(SHAPE[1], SHAPE[0]), (SHAPE[1] - 1, SHAPE[0] - 1)])
def test_one_pixel_spikes_are_refused(width: int, height: int) -> None:
    frame = scene((50.0, 40.0, 30.0), shape=(height, width))
    for x, y in ((20, 20), (33, 47), (21, 41), (40, 18)):
        frame[y, x] += 200.0
    rows = fitted(frame)
    assert len(rows) == 1
    assert rows[0, [fit.X, fit.Y]] == pytest.approx([50, 40], abs=0.15)


def test_no_spot_counts_in_the_rim() -> None:
    rim = 1 + math.ceil(2 * WIDTH)
    height, width = SHAPE
    inside = [(rim + 0.4, 20.0, 80.0), (width - 1 - rim - 0.4, 40.0, 80.0), (30.0, rim + 0.4, 80.0), (40.0, height - 1 - rim - 0.4, 80.0)]
    outside = [(rim - 0.4, 44.0, 80.0), (width - 1 - rim + 0.4, 16.0, 80.0), (48.0, rim - 0.4, 80.0), (20.0, height - 1 - rim + 0.4, 80.0)]
    rows = fitted(scene(*inside, *outside))
    assert len(rows) == 4
    expected = np.array(sorted((x, y) for x, y, _ in inside))
    assert places(rows) == pytest.approx(expected, abs=0.06)
    assert len(fitted(scene(*outside))) == 0


def test_a_spot_at_the_rim_is_split_only_where_both_count() -> None:
    rows = fitted(scene((3.0, 30.0, 80.0), (6.0, 30.0, 80.0)))
    assert len(rows) <= 1
    assert np.all(rows[:, fit.X] >= 4)


def test_the_order_of_isolated_maxima_does_not_matter() -> None:
    frame = scene((12.3, 20.8, 60.0), (34.0, 14.5, 20.0), (55.4, 40.1, 200.0), (20.7, 48.2, 90.0))
    one, other = fitted(frame), fitted(frame, backwards=True)
    assert len(one) == 4
    assert np.array_equal(one[np.argsort(one[:, fit.X])], other[np.argsort(other[:, fit.X])])


def test_crowded_spots_do_not_pull_at_each_other() -> None:
    rng = np.random.default_rng(6)
    true = [(x + rng.uniform(-0.4, 0.4), y + rng.uniform(-0.4, 0.4), 60.0) for x in range(9, 64, 7) for y in range(9, 56, 7)]
    rows = fitted(scene(*true))
    assert len(rows) == len(true)
    at = np.array(true)[:, :2]
    away = rows[:, None, :2] - at
    error = away[np.arange(len(rows)), np.argmin(np.hypot(away[..., 0], away[..., 1]), axis=1)].ravel()
    bound = math.sqrt(2 / math.pi) / 60
    assert np.sqrt(np.mean(error**2)) / bound == pytest.approx(1, abs=0.25)
    assert abs(error.mean()) < 4 * bound / math.sqrt(len(error))


def test_saturated_spots_are_told() -> None:
    frame = np.minimum(scene((20.0, 20.0, 100.0), (50.0, 40.0, 40.0)), 70)
    rows = fitted(frame, most=np.full(SHAPE, 69.9, np.float32))
    assert len(rows) == 2
    over, under = rows[np.argsort(rows[:, fit.X])]
    assert (over[fit.SATURATED], under[fit.SATURATED]) == (1, 0)
    # what is cut off is not taken for the peak
    assert over[fit.PEAK] == pytest.approx(100, rel=0.1)
    assert over[[fit.X, fit.Y]] == pytest.approx([20, 20], abs=0.06)


def test_nothing_is_found_in_nothing() -> None:
    assert len(fitted(np.zeros(SHAPE, np.float32))) == 0
    # at seven times the noise nothing of 4600 pixels, at three some
    assert [len(fitted(scene(seed=seed), threshold=7.0)) for seed in range(5)] == [0] * 5
    assert 5 <= sum(len(fitted(scene(seed=seed), threshold=3.0)) for seed in range(5)) <= 120


def test_what_earlier_frames_left_behind_changes_nothing() -> None:
    still = np.zeros(SHAPE, np.float32)
    true = [(30.0, 30.0, 80.0), (33.2, 30.0, 80.0), (50.0, 20.0, 30.0), (15.0, 45.0, 150.0), (18.5, 45.0, 40.0)]
    last = scene(*true, seed=3)
    light = Light(0.05, 0.02, 0.05, 0.2)

    def after(*before: np.ndarray) -> tuple[bytes, bytes]:
        matched = MatchedFilter(WIDTH, still, 1)
        spread, noise = np.full(matched.tiles, matched.noise_gain, np.float32), np.full(matched.grid, matched.noise_gain, np.float32)
        for frame in (*before, last):
            rows, tells = matched.fit(matched.see(frame, spread), noise, 5.0, light)
        assert 4 <= len(rows) <= 5
        return rows.tobytes(), tells.tobytes()

    rng = np.random.default_rng(8)
    spikes = (1e6 * rng.normal(size=SHAPE)).astype(np.float32)
    crowd = scene(*[(x, y, 3000.0) for x in range(6, 70, 5) for y in range(6, 60, 5)])
    assert len({after(), after(spikes), after(crowd), after(crowd, spikes), after(-spikes, crowd)}) == 1
