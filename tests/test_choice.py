from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nta.kernels import choice as kernels


def edges_of(gain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start, column and gain of the finite entries of a matrix."""
    rows, columns = np.nonzero(np.isfinite(gain))
    start = np.searchsorted(rows, np.arange(len(gain) + 1))
    return start.astype(np.int64), columns.astype(np.int64), gain[rows, columns]


def room(gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return arrays to work in, full of what is no number and no index."""
    n = kernels.LEAST_ROOM + gain.size + sum(gain.shape)
    return np.full((kernels.INTEGERS, n), -(2**62)), np.full((kernels.FLOATS, n), np.nan)


def assign(gain: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the edges of a matrix, and what `kernels.assign` writes."""
    edges = edges_of(gain)
    written = np.empty(gain.shape[1], np.int64), np.empty(len(gain), np.int64), np.empty(gain.shape[1])
    kernels.assign(*edges, *written, *room(gain))
    return edges, written


def random_gains(seed: int, rows: int, columns: int, *, whole: bool = False) -> np.ndarray:
    """Return a matrix with gaps."""
    rng = np.random.default_rng(seed)
    gain = rng.normal(1, 2, (rows, columns))
    return np.where(rng.random((rows, columns)) < rng.random(), np.rint(gain) if whole else gain, -np.inf)


@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 14), st.booleans())
@settings(max_examples=300)
def test_no_choice_of_links_gains_more(seed: int, rows: int, columns: int, whole: bool) -> None:
    gain = random_gains(seed, rows, columns, whole=whole)
    (_, column, value), (row_of, edge_of, price) = assign(gain)
    chosen = edge_of[edge_of >= 0]
    assert value[chosen].sum() == pytest.approx(naive.best_choice(gain)[0], abs=1e-9)
    # both sides of it agree, nothing is taken twice or at a loss, and what is free costs nothing
    assert sorted(row_of[row_of >= 0]) == np.flatnonzero(edge_of >= 0).tolist()
    assert np.array_equal(column[edge_of[row_of[row_of >= 0]]], np.flatnonzero(row_of >= 0))
    assert np.all(value[chosen] >= 0)
    assert np.all(price[row_of < 0] == 0)


def test_a_large_crowd_is_assigned_as_well() -> None:
    rng = np.random.default_rng(1)
    at = rng.uniform(0, 100, (2, 400, 2))
    square = ((at[0][:, None] - at[1]) ** 2).sum(axis=2)
    gain = np.where(square < 225.0, 225.0 - square, -np.inf)  # 28 candidates each
    (_, _, value), (_, edge_of, _) = assign(gain)
    assert value[edge_of[edge_of >= 0]].sum() == pytest.approx(naive.best_choice(gain)[0], rel=1e-12)


def chances(gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance of each row's choice, and its column, -1 for none."""
    edges, written = assign(gain)
    chance = np.full(len(gain), np.nan)
    kernels.weigh(*edges, *written, chance, *room(gain))
    return chance, np.where(written[1] >= 0, edges[1][written[1]] if len(edges[1]) else -1, -1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=60)
def test_the_chance_of_a_link_is_its_share_of_all_choices(seed: int, rows: int, columns: int) -> None:
    gain = random_gains(seed, rows, columns)
    chance, column = chances(gain)
    expected = naive.choice_chances(gain)
    for row in range(rows):
        if column[row] >= 0:
            # what is 1100 times less likely than the best is left out, once for each of a few edges
            assert chance[row] == pytest.approx(expected[row, column[row]], abs=3e-3)


def test_two_that_could_as_well_be_exchanged_are_even() -> None:
    assert chances(np.full((2, 2), 9.0))[0] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert chances(np.array([[9.0, 8.0], [9.0, 9.0]]))[0] == pytest.approx(1 / (1 + np.exp(-1.0)), abs=1e-3)
    assert chances(np.array([[2.0]]))[0] == pytest.approx(1 / (1 + np.exp(-2.0)))


def test_of_a_chain_too_long_to_sum_over_the_nearest_rivals_count() -> None:
    # each could be the next one's: 12 rows and columns in one group; the last column is free
    gain = np.full((12, 13), -np.inf)
    gain[np.arange(12), np.arange(12)] = 9.0
    gain[np.arange(12), np.arange(12) + 1] = 6.0
    chance, column = chances(gain)
    assert np.array_equal(column, np.arange(12))
    # shifted from the last one on: e^-3, e^-6 ...; one row short of a column or none costs e^-9
    assert chance[-1] == pytest.approx(1 / (1 + np.exp(-3.0)), abs=0.01)
    assert np.all(chance > 0.94)
    assert np.all(chance < 1)
