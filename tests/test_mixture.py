from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from nta.diffusion import size_grid_nm
from nta.mixture import MOST_COMPONENTS, NARROWEST, ODDS, Evidence, Mixture, Widths, fit_mixtures, scores

LN = np.log(size_grid_nm())
STEP = LN[1] - LN[0]


def evidence_of(
    ln_d: np.ndarray, width: float = 0.2, seed: int = 0, expected: np.ndarray | None = None, tracks_per_particle: float = 1.0
) -> Evidence:
    """Return tracks that know ln d to `width`, one expected of each particle unless told otherwise."""
    guess = ln_d + width * np.random.default_rng(seed).normal(size=len(ln_d))
    expected = np.ones(len(LN)) if expected is None else expected
    matrix = np.exp(-0.5 * ((LN - guess[:, None]) / width) ** 2) * expected
    per_particle = np.full(len(LN), tracks_per_particle)
    return Evidence(matrix, expected, np.full((len(ln_d), 2), 1e-12), LN, per_particle, expected / per_particle)


def best(evidence: Evidence) -> Mixture:
    return fit_mixtures(evidence)[0].mixture


@pytest.mark.parametrize(("centre_nm", "width"), [(100.0, 0.3), (101.7, 0.05), (99.0, 0.002), (16.0, 0.4), (3400.0, 0.3)])
def test_cells_share_a_particle_between_the_points_it_lies_between(centre_nm: float, width: float) -> None:
    mixture = Mixture(np.array([3.0]), np.array([math.log(centre_nm)]), np.array([width]), np.zeros(2))
    cells = mixture.cells(LN)
    assert cells.sum() == pytest.approx(3.0, rel=1e-12)
    assert np.all(cells >= 0)
    if width < 0.3:  # and all of it inside: then the mean is where it was
        assert cells @ LN / 3.0 == pytest.approx(math.log(centre_nm), abs=1e-9)
    k = int(np.abs(LN - math.log(centre_nm)).argmin())
    triangle, _ = quad(
        lambda x: max(1 - abs(x - LN[k]) / STEP, 0.0) * norm.pdf(x, math.log(centre_nm), width), LN[k] - STEP, LN[k] + STEP,
        points=[LN[k], math.log(centre_nm)],
    )  # fmt: skip
    assert cells[k] == pytest.approx(3.0 * triangle, rel=1e-6)


@pytest.mark.parametrize(("widths", "width"), [("own", [0.3, 0.06]), ("shared", [0.1, 0.1]), ("none", [0.01, 0.01])])
def test_slopes_are_those_of_the_cells(widths: Widths, width: list[float]) -> None:
    at = Mixture(np.array([3.0, 0.7]), np.log([95.0, 230.0]), np.array(width), np.zeros(2), widths)
    slopes, h = at.slopes(LN), 1e-5
    assert len(slopes) == {"own": 6, "shared": 5, "none": 4}[widths]
    one, both = np.arange(2) == 0, np.ones(2)
    moves = {
        0: lambda s: replace(at, number=at.number * np.exp(s * one)),
        3: lambda s: replace(at, centre=at.centre + s * ~one),
        4: lambda s: replace(at, width=np.sqrt(at.width**2 + s * (one if widths == "own" else both))),
    }
    for row in range(len(slopes)):
        if row in moves:
            by_hand = (moves[row](h).cells(LN) - moves[row](-h).cells(LN)) / (2 * h)
            assert slopes[row] == pytest.approx(by_hand, rel=1e-3, abs=2e-3 * np.abs(slopes[row]).max())


def test_what_is_below_is_the_sum_of_normals() -> None:
    mixture = Mixture(np.array([3.0, 1.0]), np.log([90.0, 300.0]), np.array([0.3, 0.1]), np.zeros(2))
    assert mixture.below(np.log([90.0]))[0] == pytest.approx(0.75 * 0.5, abs=1e-9)
    assert mixture.below(np.log([90.0 * math.exp(0.3), 5000.0])) == pytest.approx([0.75 * norm.cdf(1.0), 1.0], abs=1e-9)
    assert mixture.share == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("gsd", [1.0, 1.45, 2.0])
def test_one_log_normal_is_one_component(gsd: float) -> None:
    truth = math.log(95.0) + math.log(gsd) * np.random.default_rng(1).normal(size=600)
    found = best(evidence_of(truth))
    assert len(found.centre) == 1
    assert found.widths == ("none" if gsd == 1.0 else "own")
    assert found.number == pytest.approx([600], rel=0.01)
    assert math.exp(found.centre[0]) == pytest.approx(95.0, rel=0.03 if found.widths == "none" else 0.06)
    assert found.width[0] == pytest.approx(np.std(truth), abs=0.03)
    assert np.all(found.outlier < 1)


@pytest.mark.parametrize(("small", "large", "share"), [(80.0, 200.0, 0.7), (100.0, 150.0, 0.5), (60.0, 100.0, 0.7), (100.0, 130.0, 0.5)])
def test_two_sizes_are_two_sharp_components_where_they_are(small: float, large: float, share: float) -> None:
    rng = np.random.default_rng(2)
    truth = np.log(np.where(rng.random(1000) < share, small, large))
    found = best(evidence_of(truth, 0.15))
    assert found.widths == "none"
    assert np.exp(found.centre) == pytest.approx([small, large], rel=0.03)
    assert found.share == pytest.approx([share, 1 - share], abs=0.08)
    assert found.width == pytest.approx(NARROWEST)


def test_a_size_between_two_points_of_the_grid_is_found_there() -> None:
    between = float(np.exp(LN[60] + 0.4 * STEP))
    found = best(evidence_of(np.full(4000, math.log(between)), 0.1, seed=3))
    assert math.exp(found.centre[0]) == pytest.approx(between, rel=0.005)


def test_two_populations_that_overlap_are_one_unless_the_tracks_are_sure() -> None:
    # no two sizes, but a width of 14 %
    rng = np.random.default_rng(21)
    found = [best(evidence_of(math.log(110.0) + 0.14 * rng.normal(size=300), 0.2, seed=seed)) for seed in range(8)]
    assert [len(m.centre) for m in found] == [1] * 8
    # a further population costs its parameters and the odds against it
    fits = fit_mixtures(evidence_of(np.log(np.repeat([80.0, 200.0], 200)), seed=22))
    one, two = (next(f for f in fits if len(f.mixture.centre) == n and f.mixture.widths == "none") for n in (1, 2))
    assert (two.loglik - two.score) - (one.loglik - one.score) == pytest.approx(math.log(ODDS) + math.log(400), abs=0.3)


def test_populations_may_share_a_width() -> None:
    rng = np.random.default_rng(23)
    truth = np.log(rng.choice([80.0, 200.0], 1500)) + 0.12 * rng.normal(size=1500)
    found = best(evidence_of(truth, 0.15, seed=24))
    assert found.widths == "shared"
    assert found.width == pytest.approx([0.12, 0.12], abs=0.03)


def test_three_sizes_are_three() -> None:
    truth = np.log(np.random.default_rng(3).choice([50.0, 120.0, 400.0], 900))
    found = best(evidence_of(truth))
    assert np.exp(found.centre) == pytest.approx([50, 120, 400], rel=0.06)
    assert found.share == pytest.approx(np.full(3, 1 / 3), abs=0.06)


def test_a_narrow_and_a_wide_population_are_told_apart() -> None:
    rng = np.random.default_rng(4)
    truth = np.concatenate([math.log(80.0) + 0.3 * rng.normal(size=700), math.log(500.0) + 0.15 * rng.normal(size=150)])
    found = best(evidence_of(truth))
    assert found.widths != "none"
    assert np.exp(found.centre) == pytest.approx([80, 500], rel=0.06)
    assert found.width == pytest.approx([0.3, 0.15], abs=0.05)
    assert found.number == pytest.approx([700, 150], rel=0.08)


def test_shares_are_of_particles_not_of_tracks() -> None:
    expected = np.where(math.log(150) > LN, 4.0, 1.0)
    found = best(evidence_of(np.log(np.repeat([80.0, 300.0], [800, 200])), expected=expected))
    assert found.number == pytest.approx([200, 200], rel=0.06)


def test_parameters_cost_more_where_particles_come_back() -> None:
    ln_d = math.log(100.0) + 0.25 * np.random.default_rng(5).normal(size=320)
    price = []
    for each in (1.0, 8.0):
        fits = fit_mixtures(evidence_of(ln_d, 0.15, tracks_per_particle=each))
        wide = next(f for f in fits if len(f.mixture.centre) == 1 and f.mixture.widths == "own")
        price.append(wide.loglik - wide.score)
    # three parameters at half the ln of the particles; what the tracks of one size share of each, seven times more
    shared = 0.25**2 / (0.25**2 + 0.15**2)
    assert price[0] == pytest.approx(1.5 * math.log(320), rel=0.02)
    assert price[1] == pytest.approx(0.5 * math.log(40) * (3 + 7 * (1 + shared + shared**2)), rel=0.15)


def test_what_does_not_diffuse_is_kept_out() -> None:
    evidence = evidence_of(np.full(250, math.log(100.0)), seed=6)
    outliers = np.full((250, 2), 1e-6)
    outliers[:30, 0], outliers[30:50, 1] = 1.0, 1.0
    matrix = evidence.matrix.copy()
    matrix[:50] *= 1e-9
    found = best(replace(evidence, matrix=matrix, outliers=outliers))
    assert found.outlier == pytest.approx([30, 20], rel=0.02)
    assert found.number.sum() == pytest.approx(200, rel=0.01)


def test_fits_are_sorted_and_at_their_maxima() -> None:
    rng = np.random.default_rng(7)
    evidence = evidence_of(np.log(np.where(rng.random(500) < 0.5, 80.0, 160.0)), seed=8)
    fits = fit_mixtures(evidence)
    assert 5 <= len(fits) <= 3 * MOST_COMPONENTS - 1
    assert [f.score for f in fits] == sorted((f.score for f in fits), reverse=True)
    assert {len(f.mixture.centre) for f in fits} >= {1, 2}
    moved = {"own": 1, "shared": 0, "none": 0}
    for fit in fits:
        m = fit.mixture

        def loglik(at: Mixture) -> float:
            cells = at.cells(LN)
            return float(np.sum(np.log(evidence.matrix @ cells + evidence.outliers @ at.outlier + 1e-60)) - cells.sum() - at.outlier.sum())

        assert fit.loglik == pytest.approx(loglik(m), rel=1e-9)
        assert fit.score < fit.loglik
        for _ in range(10):
            near = replace(
                m,
                number=m.number * np.exp(0.01 * rng.normal(size=len(m.number))),
                centre=m.centre + 0.005 * rng.normal(size=len(m.centre)),
                width=np.maximum(m.width + moved[m.widths] * 0.01 * rng.normal(size=len(m.width)), NARROWEST),
            )  # fmt: skip
            assert loglik(near) < fit.loglik + 0.02


def test_more_components_are_never_less_likely() -> None:
    evidence = evidence_of(np.log(np.random.default_rng(9).uniform(50, 300, 400)), seed=10)
    for widths in ("own", "shared", "none"):
        fits = sorted((f for f in fit_mixtures(evidence) if f.mixture.widths == widths), key=lambda f: len(f.mixture.centre))
        assert all(a.loglik < b.loglik + 0.05 for a, b in itertools.pairwise(fits))


def test_rows_may_be_scaled_at_will_and_kept_in_single_precision() -> None:
    truth = math.log(95.0) + math.log(1.45) * np.random.default_rng(11).normal(size=300)
    evidence = evidence_of(truth, seed=12)
    scale = np.exp(np.random.default_rng(13).uniform(-10, 0, 300))[:, None]
    one, scaled = best(evidence), best(replace(evidence, matrix=evidence.matrix * scale, outliers=evidence.outliers * scale))
    single = best(replace(evidence, matrix=evidence.matrix.astype(np.float32)))
    for other in (scaled, single):
        assert other.centre == pytest.approx(one.centre, abs=1e-3)
        assert other.width == pytest.approx(one.width, abs=1e-3)


def test_information_is_that_of_independent_tracks_and_dependence_adds_to_the_number_as_often_as_they_come_back() -> None:
    evidence = evidence_of(math.log(95.0) + 0.3 * np.random.default_rng(14).normal(size=4000), 0.1, seed=15, tracks_per_particle=5.0)
    mixture = next(f.mixture for f in fit_mixtures(evidence) if len(f.mixture.centre) == 1 and f.mixture.widths == "own")
    information, more = scores(evidence, mixture)
    # of n normal numbers of variance s^2 and error e^2: n, n / (s^2 + e^2) and n / 2 (s^2 + e^2)^2
    total = 0.3**2 + 0.1**2
    assert np.diag(information) == pytest.approx([4000, 4000 / total, 4000 / 2 / total**2], rel=0.08)
    # four times as much again, of what the tracks of one size share: s^2 / (s^2 + e^2) of the centre's, its square of the width's
    shared = 0.3**2 / total
    assert np.diag(more) / np.diag(information) == pytest.approx([4, 4 * shared, 4 * shared**2], rel=0.12)


@pytest.mark.parametrize("n", [1, 3])
def test_a_few_tracks_are_one_size(n: int) -> None:
    found = best(evidence_of(np.full(n, math.log(100.0)), 0.2))
    assert len(found.centre) == 1
    assert math.exp(found.centre[0]) == pytest.approx(100.0, rel=0.4)
    assert found.number.sum() == pytest.approx(n, rel=0.1)
