from __future__ import annotations

from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nta.kernels import link as kernels
from nta.links import SAMPLE_SPOTS, find_links
from nta.spots import Spots

FASTEST_PX = 6.5  # 30 nm in water, 0.166 um a pixel, 25 frames a second


def edges_of(gain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start, column and gain of the finite entries of a matrix."""
    rows, columns = np.nonzero(np.isfinite(gain))
    start = np.searchsorted(rows, np.arange(len(gain) + 1))
    return start.astype(np.int64), columns.astype(np.int64), gain[rows, columns]


def assign(gain: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the edges of a matrix, and what `kernels.assign` writes."""
    edges = edges_of(gain)
    written = np.empty(gain.shape[1], np.int64), np.empty(len(gain), np.int64), np.empty(gain.shape[1])
    kernels.assign(*edges, *written)
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
    kernels.weigh(*edges, *written, chance)
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


def first_rows(spots: Spots) -> np.ndarray:
    return np.searchsorted(spots.frame, np.arange(spots.n_frames + 1)).astype(np.int64)


def link_plain(spots: Spots, gate_px: float, gap: int) -> np.ndarray:
    """Return the particle of each spot with the least sum of squared steps."""
    n = len(spots)
    one, previous, particle = np.ones(n), np.empty(n, np.int64), np.empty(n, np.int64)
    at = (spots.x_px, spots.y_px, one, one, one, np.zeros((gap + 1, n)), one)
    clock = (first_rows(spots), np.arange(spots.n_frames), np.array([gate_px]))
    kernels.link(*at, *clock, 1.0, 1.0, 5.0, True, previous, particle, np.empty(n))
    return particle


@pytest.mark.parametrize(("gate", "gap"), [(4.0, 0), (9.0, 0), (9.0, 1), (6.0, 2)])
def test_plain_links_are_trackpys(gate: float, gap: int) -> None:
    import pandas as pd
    import trackpy

    trackpy.quiet()
    spots, _ = naive.crowd(np.random.default_rng(2), 60, 30, 200.0)
    table = pd.DataFrame({"x": spots.x_px, "y": spots.y_px, "frame": spots.frame})
    theirs = trackpy.link(table, search_range=gate, memory=gap)["particle"].sort_index().to_numpy()
    ours = link_plain(spots, gate, gap)
    assert naive.linked_pairs(spots.frame, ours) == naive.linked_pairs(spots.frame, theirs)
    # numbered by their first spots
    assert np.array_equal(np.sort(np.unique(ours, return_index=True)[1]), np.unique(ours, return_index=True)[1])


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
@settings(max_examples=25)
def test_likelihood_links_equal_the_twins(seed: int, gap: int) -> None:
    rng = np.random.default_rng(seed)
    spots, _ = naive.crowd(rng, 25, 12, 60.0, missed=0.15, false_spots=1.0)
    n = len(spots)
    values: dict[str, Any] = {
        "x_px": spots.x_px,
        "y_px": spots.y_px,
        "variance_px2": spots.x_sd_px**2,
        "brightness": spots.snr / 4,
        "prior_px2": rng.uniform(1, 20, n),
        "log_odds": rng.normal(1, 1, (gap + 1, n)),
        "log_new": rng.normal(-9, 0.5, n),
    }
    gates, numbers = 12.0 * np.sqrt(np.arange(1, gap + 2)), (1.3, 0.6, 3.0)
    previous, particle, chance = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    kernels.link(*values.values(), first_rows(spots), np.arange(12), gates, *numbers, False, previous, particle, chance)
    prior_steps, follow, tail = numbers
    twin = naive.link(
        **values,
        frame=spots.frame,
        gate_px=gates,
        prior_steps=prior_steps,
        follow=follow,
        tail=tail,
        noise_share=kernels.LEAST_MOTION,
    )
    assert np.array_equal(previous, twin)
    linked = previous >= 0
    assert np.array_equal(particle[linked], particle[previous[linked]])
    assert np.all(np.bincount(particle[~linked]) == 1)
    assert np.all(chance[~linked] == 1)
    assert np.all((chance > 0) & (chance <= 1))


def shares(spots: Spots, truth: np.ndarray, particle: np.ndarray) -> tuple[float, float]:
    """Return the share of true links that were found, and of those made that are wrong."""
    made, true = naive.linked_pairs(spots.frame, particle), naive.linked_pairs(spots.frame, truth)
    direct = {(i, j) for i, j in true if spots.frame[j] - spots.frame[i] == 1}
    return len(direct & made) / len(direct), sum(truth[i] != truth[j] for i, j in made) / len(made)


def test_flow_of_5_px_with_5_percent_missed_is_linked() -> None:
    spots, truth = naive.crowd(np.random.default_rng(3), 140, 60, 500.0, flow_px=(5.0, 0.0))
    links = find_links(spots, FASTEST_PX)
    found, wrong = shares(spots, truth, links.particle)
    assert 0.985 < found <= 1
    assert 0 <= wrong < 0.01
    assert links.path_px[-1] / 59 == pytest.approx([5.0, 0.0], abs=0.05)
    assert links.gap_frames == 1
    assert links.gate_px == pytest.approx(links.gate_px[0] * np.sqrt([1, 2]))


def test_a_flow_that_changes_is_followed() -> None:
    rng = np.random.default_rng(4)
    spots, truth = naive.crowd(rng, 100, 200, 500.0, step_px=(1.0, 1.0), missed=0.0)
    path = np.column_stack([0.02 * np.arange(200) ** 2, -3.0 * np.arange(200)])  # 0 to 8 px a frame
    from dataclasses import replace

    moved = replace(spots, x_px=spots.x_px + path[spots.frame, 0], y_px=spots.y_px + path[spots.frame, 1])
    links = find_links(moved, FASTEST_PX)
    assert np.abs(np.diff(links.path_px, axis=0) - np.diff(path, axis=0)).max() < 0.5
    assert shares(spots, truth, links.particle)[0] > 0.985


@pytest.mark.parametrize("seed", [5, 6])
def test_in_a_crowd_far_fewer_links_are_wrong_and_their_chances_say_how_many(seed: int) -> None:
    spots, truth = naive.crowd(np.random.default_rng(seed), 400, 40, 300.0)
    links = find_links(spots, FASTEST_PX)
    found, wrong = shares(spots, truth, links.particle)
    found_plain, wrong_plain = shares(spots, truth, link_plain(spots, float(links.gate_px[0]), links.gap_frames))
    assert 0.005 < wrong < 0.3 * wrong_plain
    assert found_plain + 0.03 < found < 1
    pairs = np.array(sorted(naive.linked_pairs(spots.frame, links.particle)))
    chance, right = links.chance[pairs[:, 1]], truth[pairs[:, 0]] == truth[pairs[:, 1]]
    assert np.sum(1 - chance) == pytest.approx(np.sum(~right), rel=0.3)
    for low, high, error in ((0.5, 0.8, 0.1), (0.8, 0.95, 0.05), (0.95, 0.99, 0.03), (0.99, 1.0, 0.003)):
        among = (chance >= low) & (chance < high)
        assert np.mean(right[among]) == pytest.approx(np.mean(chance[among]), abs=error)


def test_five_thousand_spots_a_frame_with_a_range_of_three_neighbour_distances() -> None:
    rng = np.random.default_rng(7)
    spots, truth = naive.crowd(rng, 5000, 4, 1000.0, step_px=(1.0, 1.0), missed=0.0, depth=1.0)
    apart = 1000.0 / np.sqrt(5000)
    particle = link_plain(spots, 3 * apart, 0)
    found, wrong = shares(spots, truth, particle)
    assert 0.97 < found < 1
    assert 0 < wrong < 0.06
    assert 0.98 < shares(spots, truth, find_links(spots, 3 * apart / 4).particle)[0] < 1


def test_long_videos_are_learnt_from_parts_and_linked_whole() -> None:
    spots, truth = naive.crowd(np.random.default_rng(8), 120, 500, 500.0, flow_px=(2.0, -1.0))
    assert len(spots) > 2 * SAMPLE_SPOTS
    links = find_links(spots, FASTEST_PX)
    found, wrong = shares(spots, truth, links.particle)
    assert found > 0.985
    assert wrong < 0.01
    again = find_links(spots, FASTEST_PX)
    assert again.particle.tobytes() == links.particle.tobytes()
    assert again.chance.tobytes() == links.chance.tobytes()
