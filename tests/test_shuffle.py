from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nta.kernels.shuffle import shuffle, take_off


def shuffled(value: np.ndarray, hidden: np.ndarray, images: int, seed: int = 1) -> np.ndarray:
    out = np.full((images, value.shape[1]), np.nan, np.float32)
    shuffle(value, hidden, np.uint64(seed), out)
    return out


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 200), st.floats(0, 1), st.integers(1, 12))
@settings(max_examples=60)
def test_each_pixel_shows_its_own_values_that_are_not_hidden(seed: int, times: int, pixels: int, share: float, images: int) -> None:
    rng = np.random.default_rng(seed)
    value = rng.normal(size=(times, pixels)).astype(np.float32)
    hidden = (rng.random((times, pixels)) < share).astype(np.uint8)
    out = shuffled(value, hidden, images, seed)
    for p in range(pixels):
        allowed = value[hidden[:, p] == 0, p] if not np.all(hidden[:, p]) else [0.0]
        assert np.isin(out[:, p], allowed).all()


def test_where_all_is_hidden_there_is_nothing() -> None:
    value = np.full((5, 130), 7.0, np.float32)
    hidden = np.zeros((5, 130), np.uint8)
    hidden[:, 63:66] = 1
    out = shuffled(value, hidden, 6)
    assert not out[:, 63:66].any()
    assert np.all(np.delete(out, [63, 64, 65], axis=1) == 7)


@pytest.mark.parametrize("times", [2, 5, 24])
def test_a_pixel_shows_its_times_in_turn_from_a_random_one_on(times: int) -> None:
    pixels, rounds = 150, 200
    value = np.repeat(np.arange(times, dtype=np.float32)[:, None], pixels, axis=1)
    out = shuffled(value, np.zeros((times, pixels), np.uint8), rounds * times, 5).astype(int).reshape(rounds, times, pixels)
    assert np.array_equal(out, (out[:, :1] + np.arange(times)[:, None]) % times)
    # the first of a round: a chi-square a pixel, of uniform chances, of which the smallest of 150 is not below 1 in 10,000
    expected = rounds / times
    each = np.array([np.sum((np.bincount(out[:, 0, p], minlength=times) - expected) ** 2) / expected for p in range(pixels)])
    assert stats.chi2.sf(each, times - 1).min() > 1e-5
    assert stats.chi2.cdf(each.sum(), pixels * (times - 1)) == pytest.approx(0.5, abs=0.4995)


def test_of_the_hidden_times_the_others_are_shown_in_turn() -> None:
    value = np.repeat(np.arange(6, dtype=np.float32)[:, None], 64, axis=1)
    hidden = np.zeros((6, 64), np.uint8)
    hidden[[1, 4]] = 1
    out = shuffled(value, hidden, 6 * 200, 9).astype(int).reshape(200, 6, 64)
    place = np.array([0, -1, 1, 2, -1, 3])[out]
    assert np.array_equal(place, (place[:, :1] + np.arange(6)[:, None]) % 4)
    assert stats.chisquare(np.bincount(place[:, 0].ravel())).pvalue > 1e-3


def test_neighbours_and_rounds_are_independent() -> None:
    value = np.repeat(np.array([[-1.0], [1.0]], np.float32), 4096, axis=1)
    out = shuffled(value, np.zeros((2, 4096), np.uint8), 200, 3).astype(float)[::2]
    for other in (out[:, 1:] * out[:, :-1], out[:, 2:] * out[:, :-2], out[:, 64:] * out[:, :-64], out[1:] * out[:-1]):
        assert abs(other.mean()) < 4 / np.sqrt(other.size)
    assert abs(out.mean()) < 4 / np.sqrt(out.size)
    # what two pixels have in common does not last over rounds
    assert np.abs(np.mean(out[:, 1:] * out[:, :-1], axis=0)).max() < 5 / np.sqrt(100)


def test_the_seed_decides() -> None:
    rng = np.random.default_rng(0)
    value, hidden = rng.normal(size=(9, 300)).astype(np.float32), (rng.random((9, 300)) < 0.2).astype(np.uint8)
    assert shuffled(value, hidden, 7, 1).tobytes() == shuffled(value, hidden, 7, 1).tobytes()
    different = np.mean(shuffled(value, hidden, 7, 1) != shuffled(value, hidden, 7, 2))
    # of 7.2 values on average one is the same by chance
    assert different == pytest.approx(1 - 1 / 7.2, abs=0.04)
    assert np.mean(shuffled(value, hidden, 7, 0) != shuffled(value, hidden, 7, 1)) == pytest.approx(1 - 1 / 7.2, abs=0.04)


@pytest.mark.parametrize("tiles", [(1, 1), (1, 3), (2, 1), (3, 4)])
@pytest.mark.parametrize("top", [0, 13, 40])
def test_the_level_between_the_tiles_is_taken_off(tiles: tuple[int, int], top: int) -> None:
    rng = np.random.default_rng(2)
    image, level = rng.normal(size=(60, 70)).astype(np.float32), rng.uniform(-20, 20, tiles)
    row_mid, col_mid = ((np.arange(n) + 0.5) * size / n - 0.25 for n, size in zip(tiles, (60, 70), strict=True))
    out = np.full((20, 70), np.nan, np.float32)
    take_off(image, np.zeros_like(image), 1.0, level, row_mid, col_mid, top, np.zeros_like(image), 0.0, out)
    assert np.all(np.isfinite(out))
    expected = image - naive.bilinear(level, row_mid, col_mid, (60, 70))
    # between the centres of the tiles; beyond them it is a matter of taste
    rows, columns = (
        (at >= mid[0]) & (at <= mid[-1]) if len(mid) > 1 else np.full(len(at), True)
        for at, mid in ((np.arange(top, top + 20), row_mid), (np.arange(70), col_mid))
    )
    inside = rows[:, None] & columns
    assert out[inside] == pytest.approx(expected[top : top + 20][inside], abs=1e-4)


TWO = np.full((2, 2), 30.0), np.array([12.0, 37.0]), np.array([14.5, 44.5])


def test_an_even_level_leaves_the_noise() -> None:
    image = (30 + np.random.default_rng(3).normal(size=(50, 60))).astype(np.float32)
    out, nothing = np.empty((50, 60), np.float32), np.zeros((50, 60), np.float32)
    take_off(image, nothing, 1.0, *TWO, 0, nothing, 0.0, out)
    assert out == pytest.approx(image - 30, abs=1e-5)
    # of dark particles the still image less the frame
    take_off(image, nothing + 90, -1.0, 2 * TWO[0], *TWO[1:], 0, nothing, 0.0, out)
    assert out == pytest.approx(30 - image, abs=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_a_frame_had_of_the_still_image_is_given_back_as_far_as_the_edge(sign: float) -> None:
    rng = np.random.default_rng(4)
    off, edge = rng.normal(size=(50, 60)).astype(np.float32), rng.uniform(0.1, 2.0, (50, 60)).astype(np.float32)
    out, still = np.empty((20, 60), np.float32), np.full((50, 60), 90.0, np.float32)
    take_off(still + off, still, sign, 0 * TWO[0], *TWO[1:], 30, edge, 0.25, out)
    assert out == pytest.approx(sign * (off + 0.25 * np.clip(off, -edge, edge))[30:], abs=1e-4)
