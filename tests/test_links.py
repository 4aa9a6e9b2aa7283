from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nta.kernels import link as kernels
from nta.links import SAMPLE_SPOTS, find_links
from nta.spots import Spots

FASTEST_PX = 6.5  # 30 nm in water, 0.166 um a pixel, 25 frames a second


def first_rows(spots: Spots) -> np.ndarray:
    return np.searchsorted(spots.frame, np.arange(spots.n_frames + 1)).astype(np.int64)


def link_plain(spots: Spots, gate_px: float, gap: int) -> np.ndarray:
    """Return the particle of each spot with the least sum of squared steps."""
    n = len(spots)
    one, previous, particle = np.ones(n), np.empty(n, np.int64), np.empty(n, np.int64)
    at = (spots.x_px, spots.y_px, np.zeros((spots.n_frames, 2)), one, one, one)
    odds = (np.zeros(n, np.int16), np.ones(1), np.zeros((gap + 1, 1)), np.ones(1))
    clock = (first_rows(spots), np.arange(spots.n_frames), np.array([gate_px]))
    kernels.link(*at, *odds, *clock, 1.0, 1.0, 5.0, True, previous, particle, np.empty(n))
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
    path = np.cumsum(rng.normal(0, 5, (12, 2)), axis=0)
    # each spot at a level of brightness of its own
    level, brightness, x_sd, y_sd = rng.permutation(n), spots.snr / 4, spots.x_sd_px, 1.2 * spots.y_sd_px
    prior, log_odds, log_new = rng.uniform(1, 20, n), rng.normal(1, 1, (gap + 1, n)), rng.normal(-9, 0.5, n)
    gates, numbers = 12.0 * np.sqrt(np.arange(1, gap + 2)), (1.3, 0.6, 3.0)
    previous, particle, chance = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    moved = (spots.x_px + path[spots.frame, 0], spots.y_px + path[spots.frame, 1])
    about = (brightness, level.astype(np.int16), prior, log_odds, log_new, first_rows(spots), np.arange(12), gates)
    kernels.link(*moved, path, x_sd, y_sd, *about, *numbers, False, previous, particle, chance)
    prior_steps, follow, tail = numbers
    twin = naive.link(
        x_px=spots.x_px,
        y_px=spots.y_px,
        variance_px2=(x_sd**2 + y_sd**2) / 2,
        brightness=brightness,
        prior_px2=prior[level],
        log_odds=log_odds[:, level],
        log_new=log_new[level],
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
    assert len(spots) > 2 * SAMPLE_SPOTS[-1]
    links = find_links(spots, FASTEST_PX)
    found, wrong = shares(spots, truth, links.particle)
    assert found > 0.985
    assert wrong < 0.01
    again = find_links(spots, FASTEST_PX)
    assert again.particle.tobytes() == links.particle.tobytes()
    assert again.chance.tobytes() == links.chance.tobytes()
