"""The particles of a simulation against theory: every figure within 4 standard errors, the standard errors small enough to tell."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import naive
import numpy as np
import pytest
from scipy import stats

from nta.motion import CLUMP_SIZE, Exposure, Motion, draw_diameters, substeps, vibration_um
from nta.recipe import Population, Recipe, make_recipe
from nta.truth import sample_distribution

DT = 0.04
STILL = {"drift_um_s": (0, 0), "exposure_ms": 0.0}
MANY = {**STILL, "width_px": 400, "height_px": 400, "in_view": 120.0}  # 66 um


def recipe_of(diameter_nm: float = 100.0, **changes: Any) -> Recipe:
    return make_recipe(populations=[{"diameter_nm": diameter_nm}], **{**MANY, **changes})


def moved(recipe: Recipe, seed: int = 0) -> tuple[Motion, list[Exposure]]:
    motion = Motion(recipe, np.random.default_rng(seed))
    return motion, list(motion.exposures())


def displacements(motion: Motion, exposures: list[Exposure], lag: int, reach_um: float) -> Iterator[np.ndarray]:
    """Yield (n, 3) displacements over `lag` frames of all who were further than `reach_um` from the reservoir's ends, and so still are."""
    for first, last in zip(exposures, exposures[lag:], strict=False):
        at = first.mean_um()
        deep = np.all(np.abs(at) < motion.reservoir_um / 2 - reach_um, axis=1)
        _, here, there = np.intersect1d(first.number[deep], last.number, assume_unique=True, return_indices=True)
        assert len(here) >= np.count_nonzero(deep) - 1
        yield last.mean_um()[there] - at[deep][here]


# --- Brownian motion ---


@pytest.mark.parametrize("diameter_nm", [50.0, 100.0, 400.0])
def test_mean_squared_displacement_is_twice_d_times_time(diameter_nm: float) -> None:
    motion, exposures = moved(recipe_of(diameter_nm, n_frames=17, in_view=400.0))
    d = naive.sphere_d_um2_s(diameter_nm)
    for lag in (1, 3, 8):
        steps = np.concatenate(list(displacements(motion, exposures, lag, 5 * math.sqrt(2 * d * lag * DT))))
        msd, expected = (steps**2).mean(axis=0), 2 * d * lag * DT
        # overlapping windows: a lag's worth of them tells little more than one
        error = expected * math.sqrt(2 * lag / len(steps))
        assert np.all(np.abs(msd - expected) < 4 * error), (lag, msd / expected)
        assert error < 0.07 * expected


@pytest.mark.parametrize("exposure_ms", [0.0, 15.0, 40.0])
def test_steps_of_exposure_means_have_the_variance_and_covariance_of_theory(exposure_ms: float) -> None:
    motion, exposures = moved(recipe_of(exposure_ms=exposure_ms, n_frames=40))
    d, r = naive.sphere_d_um2_s(100.0), exposure_ms * 1e-3 / (6 * DT)
    variance, covariance = 2 * d * DT * (1 - 2 * r), 2 * r * d * DT
    sums: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for a, b, c, e in zip(exposures, exposures[1:], exposures[2:], exposures[3:], strict=False):
        common = a.number[np.all(np.abs(a.mean_um()) < motion.reservoir_um / 2 - 7 * math.sqrt(6 * d * DT), axis=1)]
        at = [x.mean_um()[np.searchsorted(x.number, common)] for x in (a, b, c, e)]
        steps = np.diff(at, axis=0)
        for lag in sums:
            sums[lag].extend((steps[0] * steps[lag]).ravel())
    n = len(sums[0])
    assert n > 20000
    error = variance / math.sqrt(n)
    assert np.mean(sums[0]) == pytest.approx(variance, abs=4 * math.sqrt(2) * error)
    assert np.mean(sums[1]) == pytest.approx(covariance, abs=4 * error)
    assert np.mean(sums[2]) == pytest.approx(0, abs=4 * error)


def test_the_path_within_an_exposure_has_the_means_of_a_brownian_path() -> None:
    exposure = moved(recipe_of(exposure_ms=32.0, n_frames=2, in_view=1000.0))[1][0]
    d, h = naive.sphere_d_um2_s(100.0), 0.004  # 8 sub-steps
    step = np.diff(exposure.path_um, axis=0)
    n = step[0].size
    # successive means of lapses h: variance 2 D h (1 - 1/3), and 1/6 of 2 D h in common with the next
    for lag, expected in ((0, 4 / 3), (1, 1 / 3), (2, 0.0)):
        product = np.mean(step[: 7 - lag] * step[lag:]) / (d * h)
        assert product == pytest.approx(expected, abs=4 * 2 / math.sqrt(n))


@pytest.mark.parametrize("flow_um_s", [0.0, 20.75])
def test_runs_in_view_are_as_long_as_propagation_of_the_density_says(flow_um_s: float) -> None:
    # a box of 53 x 40 x 8 um; 20.75 um/s are 5 px a frame
    recipe = recipe_of(width_px=320, height_px=240, in_view=40.0, n_frames=40, drift_um_s=(flow_um_s, 0))
    sides = np.array([320 * 0.166, 240 * 0.166, 8.0])
    d = naive.sphere_d_um2_s(100.0)
    stay = np.prod([naive.stay_probability(s, d, DT, v, 40) for s, v in zip(sides, (flow_um_s, 0, 0), strict=True)], axis=0)
    expected = 40.0 * naive.runs_in_view(stay)
    assert (np.arange(1, 41) * expected).sum() == pytest.approx(40 * 40, rel=1e-9)  # every particle in every frame is in one run
    edges = [1, 2, 3, 5, 9, 17, 40, 41]
    wanted = [expected[a - 1 : b - 1].sum() for a, b in itertools.pairwise(edges)]
    seen = []
    for seed in range(12):
        lengths = []
        running: dict[int, int] = {}
        for exposure in moved(recipe, seed)[1]:
            inside = set(exposure.number[np.all(np.abs(exposure.mean_um()) < sides / 2, axis=1)].tolist())
            lengths += [running.pop(n) for n in [*running] if n not in inside]
            running |= {n: running.get(n, 0) + 1 for n in inside}
        seen.append(np.histogram([*lengths, *running.values()], edges)[0])
    error = np.std(seen, axis=0, ddof=1) / math.sqrt(12)
    z = (np.mean(seen, axis=0) - wanted) / error
    assert np.all(np.abs(z) < 4), z
    assert np.all(error < 0.15 * np.array(wanted))


# --- flow ---


def test_drift_and_its_change_carry_everything_along() -> None:
    motion, exposures = moved(recipe_of(400.0, drift_um_s=(6.0, -3.0), drift_change_um_s=(-12.0, 4.0), n_frames=50, exposure_ms=40.0))
    speed = [step.mean(axis=0) / DT for step in displacements(motion, exposures, 1, 3.0)]
    count = [len(step) for step in displacements(motion, exposures, 1, 3.0)]
    # between the middles of two exposures, frames / 50 of the change has come
    share = (np.arange(49) + 1) / 50
    wanted = np.array([6.0, -3.0, 0.0]) + share[:, None] * np.array([-12.0, 4.0, 0.0])
    sd = math.sqrt(2 * naive.sphere_d_um2_s(400.0) * DT * 2 / 3) / DT
    z = (np.array(speed) - wanted) / (sd / np.sqrt(count))[:, None]
    assert np.abs(z).max() < 4.5  # of 147
    assert (z**2).mean() == pytest.approx(1, abs=0.4)
    assert sd / math.sqrt(np.mean(count)) < 0.5


def test_convection_turns_without_sources_and_sinks() -> None:
    recipe = recipe_of(400.0, convection_um_s=30.0, n_frames=20, in_view=300.0)
    exposures = moved(recipe)[1]
    steps, at = [], []
    for first, last in itertools.pairwise(exposures):
        _, here, there = np.intersect1d(first.number, last.number, return_indices=True)
        steps.append((last.mean_um()[there] - first.mean_um()[here])[:, :2] / DT)
        at.append((last.mean_um()[there] + first.mean_um()[here])[:, :2] / 2)
    speed, place = np.concatenate(steps), np.concatenate(at)
    side = 400 * 0.166
    for along, across in ((0, 1), (1, 0)):
        turn = 2 * math.pi * place / side
        waves = np.column_stack([np.cos(turn[:, across]), np.sin(turn[:, across]), np.cos(turn[:, along]), np.sin(turn[:, along])])
        found = np.linalg.lstsq(waves, speed[:, along], rcond=None)[0]
        noise = math.sqrt(2 * naive.sphere_d_um2_s(400.0) / DT)
        error = noise * math.sqrt(2 / len(speed))
        assert error < 0.3
        # across the stream all of the amplitude, along it none: dv_x/dx = dv_y/dy = 0
        assert math.hypot(found[0], found[1]) == pytest.approx(30.0, abs=4 * error)
        assert abs(found[2]) < 4 * error
        assert abs(found[3]) < 4 * error


@pytest.mark.parametrize("flow", [{"convection_um_s": 60.0}, {"drift_um_s": (20.75, 0)}, {"directed_fraction": 1.0, "directed_um_s": 20.0}])
def test_the_reservoir_stays_evenly_full(flow: dict[str, Any]) -> None:
    recipe = recipe_of(2000.0, n_frames=60, in_view=400.0, **flow)
    chi2, cells = 0.0, 0
    for seed in range(2):
        motion, exposures = moved(recipe, seed)
        for exposure in exposures[20::20]:
            at = exposure.mean_um() / motion.reservoir_um + 0.5
            counts = np.histogramdd(at, bins=(5, 5, 4), range=[(0, 1)] * 3)[0]
            expected = motion.density_um3 * motion.reservoir_um.prod() / counts.size
            chi2 += np.sum((counts - expected) ** 2 / expected)
            cells += counts.size
    assert stats.chi2.cdf(chi2, cells) == pytest.approx(0.5, abs=0.4999)


def test_a_flow_brings_new_particles_all_the_time() -> None:
    # 5 px a frame through 400 px: in 160 frames the field is filled twice more
    recipe = recipe_of(3000.0, width_px=400, height_px=64, in_view=40.0, n_frames=160, drift_um_s=(20.75, 0))
    box = np.array([400 * 0.166, 64 * 0.166, 8.0])
    seen = []
    for seed in range(5):
        numbers = [e.number[np.all(np.abs(e.mean_um()) < box / 2, axis=1)] for e in moved(recipe, seed)[1]]
        seen.append(len(np.unique(np.concatenate(numbers))))
    d, lapse = naive.sphere_d_um2_s(3000.0), 159 * DT
    # diffusion through the four other sides adds the mean largest excursion at each
    wider = 1 + 4 * math.sqrt(d * lapse / math.pi) / box[1:]
    expected = 40 * (1 + 20.75 * lapse / box[0]) * wider.prod()
    error = math.sqrt(expected / 5)
    # the corners and what frames miss are not in it: 10 %
    assert np.mean(seen) == pytest.approx(expected, abs=4 * error + 0.1 * expected)
    assert np.mean(seen) > 3 * 40


# --- who is there ---

MIXED = [{"diameter_nm": 60.0, "fraction": 0.6, "gsd": 1.2}, {"diameter_nm": 500.0, "fraction": 0.4}]


@pytest.mark.parametrize("flow", [{}, {"drift_um_s": (20.75, 0)}, {"convection_um_s": 20.0}], ids=["still", "5 px a frame", "convection"])
def test_sizes_and_numbers_in_view_stay_those_of_the_sample(flow: dict[str, Any]) -> None:
    recipe = make_recipe(populations=MIXED, **{**MANY, "width_px": 128, "height_px": 128, "n_frames": 24, "in_view": 30.0, **flow})
    box = np.array([128 * 0.166, 128 * 0.166, 8.0])
    rows = []
    for seed in range(24):
        diameters = [e.diameter_nm[np.all(np.abs(e.mean_um()) < box / 2, axis=1)] for e in moved(recipe, seed)[1]]
        count = np.array([len(d) for d in diameters])
        small = np.array([np.count_nonzero(d < 300) for d in diameters])
        log = np.concatenate([np.log(d[d < 300]) for d in diameters])
        rows.append([count[:8].mean(), count[-8:].mean(), small[:8].mean(), small[-8:].mean(), (log - math.log(60)).sum()])
    mean, error = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / math.sqrt(24)
    for column, expected in enumerate([30.0, 30.0, 18.0, 18.0]):
        assert mean[column] == pytest.approx(expected, abs=4 * error[column]), column
    assert np.all(error[:4] < [1.6, 1.6, 1.2, 1.2])
    # within the population: as many above its median as below, over time
    assert mean[4] / (24 * 18) == pytest.approx(0, abs=4 * error[4] / (24 * 18))
    assert error[4] / (24 * 18) < 0.03


def test_drawn_diameters_follow_the_sample_truth() -> None:
    recipe = Recipe((Population(80.0, 1.1, 0.7), Population(200.0, 1.2, 0.3)))
    drawn = np.sort(draw_diameters(recipe, np.random.default_rng(0), 20000))
    diameter, weight = sample_distribution(recipe)
    order = np.argsort(diameter)
    truth = np.interp(drawn, diameter[order], np.cumsum(weight[order]))
    # Kolmogorov-Smirnov at 0.1 %: 1.95 / sqrt(n)
    assert np.abs(truth - (np.arange(20000) + 0.5) / 20000).max() < 1.95 / math.sqrt(20000)


# --- what does not diffuse freely ---


@pytest.mark.parametrize("exposure_ms", [0.0, 15.0])
@pytest.mark.parametrize("confinement_um", [0.1, 0.6])
def test_confined_particles_fill_their_trap(confinement_um: float, exposure_ms: float) -> None:
    recipe = recipe_of(
        confined_fraction=1.0, confinement_um=confinement_um, n_frames=30, exposure_ms=exposure_ms, drift_um_s=(20, 0), convection_um_s=10
    )
    motion, exposures = moved(recipe)
    d = naive.sphere_d_um2_s(100.0)
    tau, te = confinement_um**2 / d, exposure_ms * 1e-3
    # a stationary Ornstein-Uhlenbeck process averaged over te
    shrink = 2 * (te / tau - 1 + math.exp(-te / tau)) / (te / tau) ** 2 if te else 1.0
    # of two exposures, neighbours' starts dt apart: the mean of exp(-|t - t'| / tau)
    alike = math.exp(-DT / tau) * ((math.cosh(te / tau) - 1) * 2 / (te / tau) ** 2 if te else 1.0)
    off = np.array([e.mean_um() for e in exposures]) - motion.particles.anchor_um
    n = off[::10].size
    assert off.var() == pytest.approx(confinement_um**2 * shrink, rel=4 * math.sqrt(2 / n))
    assert abs(off.mean()) < 4 * confinement_um / math.sqrt(n)
    assert np.mean(off[1:] * off[:-1]) == pytest.approx(confinement_um**2 * alike, abs=4 * confinement_um**2 * shrink / math.sqrt(n))
    # a flow takes none of them along
    assert {len(e.number) for e in exposures} == {len(motion.particles)}


def test_a_wide_trap_is_none_for_short_times() -> None:
    exposures = moved(recipe_of(confined_fraction=1.0, confinement_um=500.0, n_frames=6, exposure_ms=15.0))[1]
    d = naive.sphere_d_um2_s(100.0)
    steps = np.diff([e.mean_um() for e in exposures], axis=0)
    assert steps.var() == pytest.approx(2 * d * DT * (1 - 0.015 / (3 * DT)), rel=4 * math.sqrt(2 / steps.size))


def test_directed_particles_also_go_straight() -> None:
    motion, exposures = moved(recipe_of(directed_fraction=1.0, directed_um_s=15.0, n_frames=13, in_view=500.0))
    d, lag = naive.sphere_d_um2_s(100.0), 4
    steps = np.concatenate(list(displacements(motion, exposures, lag, 5 * math.sqrt(2 * d * lag * DT) + 15 * lag * DT)))
    n = len(steps) / lag
    diffused = 2 * d * lag * DT
    expected = np.array([diffused + (15 * lag * DT) ** 2 / 2] * 2 + [diffused])
    assert (steps**2).mean(axis=0) == pytest.approx(expected, rel=4 * math.sqrt(2 / n))
    # in all directions alike
    assert np.all(np.abs(steps.mean(axis=0)) < 4 * np.sqrt(expected / n))
    assert n > 200


def test_shares_of_confined_directed_and_clumps_are_those_asked_for() -> None:
    recipe = recipe_of(confined_fraction=0.3, directed_fraction=0.2, clumps=0.25, in_view=600.0, n_frames=2)
    who = Motion(recipe, np.random.default_rng(1)).particles
    n = len(who)
    directed = np.any(who.own_um_s != 0, axis=1)
    for share, mask in ((0.3, ~who.loose), (0.2, directed), (0.25, who.clump), (0.0, ~who.loose & directed)):
        assert np.count_nonzero(mask) / n == pytest.approx(share, abs=4 * math.sqrt(0.25 / n))
    assert not np.any(~who.loose & directed)
    assert np.hypot(*who.own_um_s[directed].T) == pytest.approx(5.0)


def test_clumps_diffuse_as_two_touching_spheres() -> None:
    # friction along and across the axis of two touching spheres: 2 x 0.645 and 2 x 0.7245 of one sphere's (Stimson & Jeffery 1926;
    # Goldman et al. 1966); mobility averages over directions
    average = 3 / (1 / (2 * 0.645) + 2 / (2 * 0.7245))
    assert pytest.approx(average, abs=0.001) == CLUMP_SIZE
    motion, exposures = moved(recipe_of(clumps=1.0, n_frames=12))
    assert np.all(exposures[0].diameter_nm == CLUMP_SIZE * 100)
    assert np.all(exposures[0].sphere_nm == 100)
    steps = np.concatenate(list(displacements(motion, exposures, 1, 4.0)))
    expected = 2 * naive.sphere_d_um2_s(139.2) * DT
    assert steps.var() == pytest.approx(expected, rel=4 * math.sqrt(2 / steps.size))
    diameter, weight = sample_distribution(make_recipe(populations=[{"diameter_nm": 100}], clumps=0.2))
    assert weight.sum() == pytest.approx(1)
    assert weight[diameter > 120].sum() == pytest.approx(0.2)
    assert set(np.round(diameter, 6)) == {100, 139.2}


def test_clumps_turn_by_rotational_diffusion() -> None:
    # 800 nm spheres: D_r of one is 3 D / d^2 = 2.9 / s, of the pair a 3.74th; the axis forgets itself as exp(-2 D_r t)
    recipe = recipe_of(800.0, clumps=1.0, n_frames=24, in_view=400.0)
    exposures = moved(recipe)[1]
    rate = 3 * naive.sphere_d_um2_s(800.0) / 0.8**2 / 3.74
    for lag in (5, 20):
        first, last = exposures[0], exposures[lag]
        _, here, there = np.intersect1d(first.number, last.number, return_indices=True)
        cosine = np.sum(first.axis[0][here] * last.axis[0][there], axis=1)
        assert cosine.mean() == pytest.approx(math.exp(-2 * rate * lag * DT), abs=4 * math.sqrt(1 / 3 / len(here)))
    axis = exposures[-1].axis[0]
    assert np.abs((axis**2).mean(axis=0) - 1 / 3).max() < 4 * math.sqrt(4 / 45 / len(axis))


# --- vibration ---


def test_vibration_is_averaged_over_the_exposure() -> None:
    for hz, exposure_ms in ((10.0, 15.0), (60.0, 15.0), (333.0, 30.0)):
        recipe = recipe_of(vibration_um=(0.3, -0.1), vibration_hz=hz, exposure_ms=exposure_ms)
        start = np.random.default_rng(0).uniform(0, 100, 500)
        shaken = np.array([vibration_um(recipe, t, 0.7).mean(axis=0) for t in start])
        te = exposure_ms * 1e-3
        middle = np.sin(2 * math.pi * hz * (start + te / 2) + 0.7) * np.sinc(hz * te)
        assert shaken == pytest.approx(np.outer(middle, [0.3, -0.1]), abs=1e-9)


def test_a_fast_vibration_is_drawn_in_more_steps() -> None:
    assert substeps(recipe_of(exposure_ms=15.0)) == 8
    assert substeps(recipe_of(exposure_ms=0.0)) == 1
    assert substeps(recipe_of(exposure_ms=40.0, vibration_um=(0.1, 0), vibration_hz=500.0)) == 80
    assert substeps(recipe_of(exposure_ms=40.0, vibration_hz=500.0)) == 8  # nothing shakes
    assert vibration_um(recipe_of(vibration_um=(0.1, 0), vibration_hz=1.0), 0.25, 0.0) == pytest.approx(np.array([[0.1, 0.0]]))
