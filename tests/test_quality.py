from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_result import empty_result, fake_result

from nta.distribution import Peak
from nta.flags import Flag
from nta.quality import find_notices
from nta.result import Result
from nta.settings import Settings, Used


def good(sample: str = "bead") -> Result:
    """Return a result without anything to warn of."""
    result = fake_result(sample)
    spots = replace(result.spots, flags=np.zeros(len(result.spots), np.uint32))
    tracks = replace(result.tracks, spots=spots, chosen={"search_range_px": Used(5.0, "measured")})
    diffusion = replace(result.diffusion, chosen={"wrong_link_share": Used(0.001, "measured")})
    calibration = replace(result.calibration, temperature_c=Used(25.0, "option", 0.3))
    distribution = replace(result.distribution, independent_particles=500.0)
    changed: dict[str, Any] = {
        "spots": spots,
        "tracks": tracks,
        "diffusion": diffusion,
        "calibration": calibration,
        "distribution": distribution,
    }
    return replace(result, **changed, notices=())


def codes(result: Result) -> list[str]:
    notices = find_notices(result)
    assert all(n.message and "\n" not in n.message for n in notices)
    return [n.code for n in notices]


def test_a_good_video_has_no_warning() -> None:
    assert codes(good()) == []


def test_assumed_temperature_is_said_unless_the_viscosity_is_given() -> None:
    result = good()
    assumed = replace(result, calibration=replace(result.calibration, temperature_c=Used(25.0, "assumed", 2.0)))
    assert codes(assumed) == ["temperature_assumed"]
    assert "25 C assumed" in find_notices(assumed)[0].message
    assert "--temperature-c" in find_notices(assumed)[0].message
    assert codes(replace(assumed, settings=Settings().with_options(viscosity_mpas=0.9))) == []


@pytest.mark.parametrize(("share", "expected"), [(0.19, []), (0.21, ["saturated"])])
def test_saturation_is_said_above_a_fifth(share: float, expected: list[str]) -> None:
    result = good()
    flags = np.zeros(len(result.spots), np.uint32)
    flags[: int(np.ceil(share * len(flags)))] = int(Flag.SATURATED)
    assert codes(replace(result, spots=replace(result.spots, flags=flags))) == expected


@pytest.mark.parametrize("flag", [Flag.POOR_FIT, Flag.DIRECTED, Flag.CONFINED])
def test_tracks_that_are_not_of_free_diffusion_are_said(flag: Flag) -> None:
    result = good()
    sized = result.diffusion.track
    for share, expected in ((0.0, []), (0.2, ["model_misfit"])):
        flags = result.sizes.flags.copy()
        flags[sized[: int(share * len(sized))]] |= np.uint32(flag)
        notices = find_notices(replace(result, sizes=replace(result.sizes, flags=flags)))
        assert [n.code for n in notices] == expected
        if expected:
            assert notices[0].message.startswith("19.4 % of the tracks are not of free diffusion, where chance gives 0.1 %")


def test_a_crowd_is_said_with_its_number() -> None:
    result = good()
    for wrong, expected in ((0.008, []), (0.034, ["crowded"])):
        chosen = {"wrong_link_share": Used(wrong, "measured")}
        notices = find_notices(replace(result, diffusion=replace(result.diffusion, chosen=chosen)))
        assert [n.code for n in notices] == expected
        if expected:
            assert "3.4 % of the links" in notices[0].message


def test_doubtful_links_are_a_crowd_where_the_fit_finds_none() -> None:
    result = good()
    for chance, expected in ((0.995, []), (0.96, ["crowded"]), (np.nan, [])):
        tracks = replace(result.tracks, link_chance=np.full(len(result.tracks.spots), chance))
        notices = find_notices(replace(result, tracks=tracks))
        assert [n.code for n in notices] == expected
        if expected:
            assert "4.0 % of the links" in notices[0].message


@pytest.mark.parametrize(("particles", "expected"), [(49.0, ["few_particles"]), (51.0, [])])
def test_few_particles_are_said(particles: float, expected: list[str]) -> None:
    result = good()
    assert codes(replace(result, distribution=replace(result.distribution, independent_particles=particles))) == expected


@pytest.mark.parametrize(("cell", "expected"), [(-1, "beyond_grid"), (0, "below_grid")])
def test_what_piles_up_at_an_end_of_the_sizes_is_said(cell: int, expected: str) -> None:
    result = good()
    weight = 0.97 * result.distribution.weight
    weight[cell] += 0.03
    dist = result.distribution
    # a new distribution: shares are kept once worked out
    fields = {k: v for k, v in vars(dist).items() if k in type(dist).__dataclass_fields__}
    assert codes(replace(result, distribution=type(dist)(**{**fields, "weight": weight}))) == [expected]


def test_a_median_between_two_populations_is_said() -> None:
    result = good("bimodal")
    dist = result.distribution
    half = tuple(Peak(d, 0.5, 1.05) for d in (80.0, 200.0))
    weights = np.array([dist.weight * np.where(dist.grid_nm < 126, a, 1 - a) for a in np.linspace(0.1, 0.9, 200)])
    weights /= weights.sum(axis=1, keepdims=True)
    fields = {k: v for k, v in vars(dist).items() if k in type(dist).__dataclass_fields__}
    torn = type(dist)(**{**fields, "replicates": weights, "peaks": half})
    notices = find_notices(replace(result, distribution=torn))
    assert [n.code for n in notices] == ["median_in_gap"]
    assert "80 and 200 nm" in notices[0].message
    # not where the two run into each other, nor where there is one
    wide = tuple(Peak(d, 0.5, 1.7) for d in (80.0, 200.0))
    for peaks in (wide, half[:1], ()):
        assert codes(replace(result, distribution=type(dist)(**{**fields, "replicates": weights, "peaks": peaks}))) == []


def test_an_empty_video_says_only_that() -> None:
    result = empty_result()
    result = replace(result, calibration=replace(result.calibration, temperature_c=Used(25.0, "option", 0.3)))
    assert codes(result) == ["no_particles"]
    assert "--polarity" in find_notices(result)[0].message


def test_spots_without_a_track_long_enough_say_so() -> None:
    result, empty = good(), empty_result()
    short = replace(result, diffusion=empty.diffusion, distribution=empty.distribution)
    assert codes(short) == ["no_tracks"]
    assert f"the longest has {result.tracks.n_spots.max()}" in find_notices(short)[0].message


def test_other_weightings_are_said_beyond_the_interval() -> None:
    result = good("ev")
    dist = replace(result.distribution, raw_nm=np.full(20, result.distribution.statistic("d50").value))
    assert codes(replace(result, distribution=replace(dist, simple=dist.weight, unweighted=dist.weight))) == []
    shifted = np.roll(dist.weight, 8)  # 28 % larger
    found = find_notices(replace(result, distribution=replace(dist, simple=shifted, unweighted=dist.weight)))
    assert [n.code for n in found] == ["weightings_disagree"]
    d50 = dist.statistic("d50").value
    assert f"D50 is {d50:.0f} nm" in found[0].message
    assert f"{dist.median_of(shifted):.0f} nm by time in view" in found[0].message


def test_tracks_that_are_not_particles_are_said_with_all_three_medians() -> None:
    result = good("ev")
    dist = result.distribution
    found = find_notices(replace(result, distribution=replace(dist, simple=dist.weight, unweighted=np.roll(dist.weight, -8))))
    assert [n.code for n in found] == ["tracks_are_not_particles"]
    assert f"{result.raw_size_nm()['d50']:.0f} nm in the plain histogram" in found[0].message
    assert f"{dist.median_of(np.roll(dist.weight, -8)):.0f} nm by tracks" in found[0].message


def test_the_median_of_weights_is_that_of_the_distribution() -> None:
    dist = good("ev").distribution
    assert dist.median_of(dist.weight) == pytest.approx(dist.statistic("d50").value, rel=1e-6)
