from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fake_result import GRID_NM, fake_distribution
from hypothesis import given, settings
from hypothesis import strategies as st

from nta.classes import SizeClass, find_classes, parse_classes
from nta.diffusion import Diffusion
from nta.distribution import Distribution, Interval
from nta.errors import UsageError
from nta.settings import Settings

DEFAULT = Settings().classes.classes


def named(spec: str) -> list[tuple[str, float, float]]:
    return [(c.name, c.low_nm, c.high_nm) for c in parse_classes(spec)]


def test_default_classes_cover_all_sizes() -> None:
    assert named(DEFAULT) == [
        ("below_30", 0, 30),
        ("exosome", 30, 100),
        ("microvesicle", 100, 1000),
        ("apoptotic_body", 1000, math.inf),
    ]


def test_misev_is_small_and_large() -> None:
    assert named("misev") == [("below_30", 0, 30), ("small_ev", 30, 200), ("large_ev", 200, math.inf)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a:0-", [("a", 0, math.inf)]),
        ("b:50-80,a:20-50", [("below_20", 0, 20), ("a", 20, 50), ("b", 50, 80), ("above_80", 80, math.inf)]),
        (" a : 10 - 20.5 , c-d:40- ", [("below_10", 0, 10), ("a", 10, 20.5), ("from_20.5_to_40", 20.5, 40), ("c-d", 40, math.inf)]),
    ],
)
def test_what_is_missing_is_filled_in(spec: str, expected: list[tuple[str, float, float]]) -> None:
    assert named(spec) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mysev", r"'mysev' is neither NAME:LOW-HIGH,\.\.\. nor a known set; did you mean 'misev'\?"),
        ("", r"'' is neither NAME:LOW-HIGH"),
        ("a:10-20,", r"'' is not NAME:LOW-HIGH in nm"),
        ("a:ten-20", r"'a:ten-20' is not NAME:LOW-HIGH in nm"),
        ("a:-5-20", r"'a:-5-20' is not NAME:LOW-HIGH"),
        ("1a:5-20", r"'1a:5-20' is not NAME:LOW-HIGH"),
        ("a:1.2.3-20", r"'a:1.2.3-20' is not NAME:LOW-HIGH"),
        ("a:.-5", r"'a:.-5' is not NAME:LOW-HIGH"),
        ("a:20-20", r"'a:20-20' is empty; its lower edge must be below its upper"),
        ("a:30-20", r"'a:30-20' is empty"),
        ("a:10-20,a:20-30", r"a name stands twice in a, a"),
        ("a:10-30,b:20-40", r"a and b overlap"),
        ("a:10-,b:20-40", r"a and b overlap"),
    ],
)
def test_what_cannot_be_read_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match="--classes: .*" + message if not message.startswith("'") else "--classes: " + message):
        parse_classes(spec)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=5), st.booleans())
@settings(max_examples=40)
def test_any_classes_cover_zero_to_infinity_without_gap_or_twin(parts: list[tuple[int, int]], open_end: bool) -> None:
    low, spec = 0, []
    for i, (gap, width) in enumerate(parts):
        low += gap
        spec.append(f"c{i}:{low}-{'' if open_end and i == len(parts) - 1 else low + width}")
        low += width
    classes = parse_classes(",".join(spec))
    assert classes[0].low_nm == 0
    assert classes[-1].high_nm == math.inf
    assert all(a.high_nm == b.low_nm for a, b in pairwise(classes))
    assert len({c.name for c in classes}) == len(classes)


@pytest.mark.parametrize(
    ("spec", "twin"),
    [("above_200:30-200", "above_200"), ("x:30-60,below_30:60-90", "below_30"), ("from_60_to_90:30-60,b:90-", "from_60_to_90")],
)
def test_a_name_that_would_also_be_filled_in_is_refused(spec: str, twin: str) -> None:
    # columns are named after the classes: fraction_<class>, p_<class>
    with pytest.raises(UsageError, match=f"--classes: .*{twin}"):
        parse_classes(spec)


def case(
    sample: tuple[tuple[float, float, float], ...], n: int = 60, particles: float = 60.0, often_seen: Callable[[Any], Any] = np.ones_like
) -> tuple[Distribution, Diffusion]:
    """Return a made-up distribution, and tracks whose posteriors are its own, each track at one size.

    Particles of a size are seen as often as others, or as `often_seen` says.
    """
    rng = np.random.default_rng(0)
    dist = fake_distribution(rng, sample, n, 0.08)
    at = rng.choice(len(GRID_NM), n, p=dist.weight)
    posterior = np.exp(-0.5 * ((np.log(GRID_NM) - np.log(GRID_NM[at])[:, None]) / 0.2) ** 2)
    posterior /= posterior.sum(axis=1, keepdims=True)
    outlier = np.zeros((n, 4))
    posterior[0], outlier[0, 0] = 0.0, 1.0
    changed = {
        "posterior": posterior,
        "outlier": outlier,
        "independent_particles": particles,
        "seen_if_all": particles * often_seen(dist.grid_nm),
    }
    dist = Distribution(**{**{k: v for k, v in vars(dist).items() if not k.startswith("_") and k != "edges_nm"}, **changed})
    d, track = 490.7 / GRID_NM[at], 2 * np.arange(n) + 1
    nothing = np.full(n, -50.0)
    return dist, Diffusion(
        track, d, d, d, np.full(n, 9), GRID_NM, np.zeros((n, len(GRID_NM)), np.float32), *[nothing] * 4, np.ones(n), 490.7
    )


def test_fractions_are_those_of_the_distribution_and_sum_to_one() -> None:
    dist, diffusion = case(((1.0, 95.0, 1.45),))
    found = find_classes(dist, diffusion, 121, DEFAULT)
    assert [f.value for f in found.fraction] == pytest.approx([dist.share(c.low_nm, c.high_nm).value for c in found.classes])
    assert sum(f.value for f in found.fraction) == pytest.approx(1, abs=1e-12)
    # half the ln d below 95 nm, and a little more up to 100
    assert found.fraction[1].value == pytest.approx(0.5 + 0.0549 - 0.001, abs=0.005)
    for f in found.fraction:
        assert 0 <= f.low <= f.low_stat <= f.value <= f.high_stat <= f.high <= 1


def test_a_fraction_is_no_better_known_than_the_particles_allow() -> None:
    few, many = (find_classes(*case(((1.0, 95.0, 1.45),), particles=n), 121, DEFAULT).fraction[1] for n in (20.0, 1e6))
    # Jeffreys for 11 of 20: 0.34 to 0.75; the replicates of the many: their own spread
    assert few.low < 0.36
    assert few.high > 0.73
    assert many.high - many.low < few.high - few.low
    assert few.value == many.value


def test_a_class_nobody_was_seen_in_keeps_an_upper_bound() -> None:
    dist, diffusion = case(((1.0, 95.0, 1.2),), particles=50.0)
    last = find_classes(dist, diffusion, 121, DEFAULT).fraction[-1]
    assert last.value == pytest.approx(0, abs=1e-6)
    assert last.low == pytest.approx(0, abs=1e-4)
    # Jeffreys for 0 of 50
    assert last.high == pytest.approx(0.049, abs=0.005)


def test_of_those_who_hardly_come_by_more_may_have_been_missed() -> None:
    # a third as many of the large ones are seen, as they stay longer and fewer come by: 0 of 16
    dist, diffusion = case(((1.0, 95.0, 1.2),), particles=50.0, often_seen=lambda d: np.where(d < 500, 1.0, 0.33))
    fraction = find_classes(dist, diffusion, 121, DEFAULT).fraction
    assert fraction[-1].high == pytest.approx(0.138, abs=0.01)
    same = find_classes(*case(((1.0, 95.0, 1.2),), particles=50.0), 121, DEFAULT).fraction
    assert (fraction[1].low, fraction[1].high) == pytest.approx((same[1].low, same[1].high), rel=1e-6)


def test_posterior_of_each_track_sums_to_one_and_names_its_class() -> None:
    dist, diffusion = case(((0.6, 60.0, 1.1), (0.4, 300.0, 1.1)))
    found = find_classes(dist, diffusion, 125, DEFAULT)
    assert found.p_class.shape == (125, 4)
    sized = diffusion.track[1:]
    assert found.p_class[sized].sum(axis=1) == pytest.approx(np.ones(len(sized)), abs=1e-9)
    assert np.all(found.p_class[sized] >= 0)
    assert np.array_equal(found.label[sized], found.p_class[sized].argmax(axis=1))
    best = GRID_NM[dist.posterior[1:].argmax(axis=1)]
    assert np.mean(found.label[sized] == np.where(best < 100, 1, 2)) > 0.98
    # not sized, or no diffusing particle: no class
    others = np.setdiff1d(np.arange(125), sized)
    assert diffusion.track[0] in others
    assert np.isnan(found.p_class[others]).all()
    assert np.all(found.label[others] == -1)


def test_a_cell_that_an_edge_cuts_counts_in_parts() -> None:
    dist, diffusion = case(((1.0, 95.0, 1.45),), n=2)
    posterior = np.zeros((2, len(GRID_NM)))
    k = int(np.abs(GRID_NM - 100.0).argmin())
    posterior[:, k] = 1.0
    dist.posterior[:], dist.outlier[:] = posterior, 0.0
    found = find_classes(dist, diffusion, 4, DEFAULT)
    low, high = dist.edges_nm[k : k + 2]
    assert found.p_class[1] == pytest.approx(
        [0, math.log(100 / low) / math.log(high / low), math.log(high / 100) / math.log(high / low), 0]
    )


def test_nothing_sized_has_classes_without_numbers() -> None:
    nothing = np.zeros(len(GRID_NM))
    dist = Distribution(GRID_NM, nothing, nothing, np.empty((0, 160)), np.empty(0), 0.0, np.empty(0), Interval(0, 0, 0, 0, 0))
    none = np.empty(0)
    diffusion = Diffusion(
        np.empty(0, np.int64), none, none, none, np.empty(0, np.int64), GRID_NM, np.empty((0, 160), np.float32), *[none] * 5, 1.0
    )
    found = find_classes(dist, diffusion, 3, "misev")
    assert found.classes[1] == SizeClass("small_ev", 30.0, 200.0)
    assert all(math.isnan(f.value) for f in found.fraction)
    assert np.isnan(found.p_class).all()
    assert list(found.label) == [-1, -1, -1]
