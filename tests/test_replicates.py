from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from test_mixture import LN, evidence_of

from nta import mixture, replicates
from nta.mixture import NARROWEST, Evidence, Mixture, fit_mixtures
from nta.replicates import draw_replicates


def loglik(evidence: Evidence, count: np.ndarray, at: Mixture) -> float:
    cells = at.cells(LN)
    return float(count @ np.log(evidence.matrix @ cells + evidence.outliers @ at.outlier) - cells @ evidence.expected - at.outlier.sum())


@pytest.mark.parametrize("case", ["wide", "sharp", "two"])
def test_refits_are_at_their_maxima(case: str) -> None:
    rng = np.random.default_rng(15)
    ln_d = {
        "wide": math.log(100.0) + 0.4 * rng.normal(size=400),
        "sharp": np.log(np.repeat([80.0, 160.0], 200)),
        "two": np.concatenate([math.log(90.0) + 0.25 * rng.normal(size=300), math.log(350.0) + 0.3 * rng.normal(size=100)]),
    }[case]
    evidence = evidence_of(ln_d, seed=16)
    best = fit_mixtures(evidence)[0].mixture
    counts = rng.poisson(1.0, (6, 400))
    for count, found in zip(counts, replicates._refit(evidence, best, counts), strict=True):
        reached = loglik(evidence, count, found)
        assert reached > loglik(evidence, count, best)
        for _ in range(20):
            change = [s * rng.normal(size=len(best.centre)) for s in (0.02, 0.01, 0.02 * (best.widths == "own"))]
            near = replace(
                found, number=found.number * np.exp(change[0]), centre=found.centre + change[1],
                width=np.maximum(found.width + change[2], NARROWEST),
            )  # fmt: skip
            assert loglik(evidence, count, near) < reached + 0.05
        assert found.number.sum() == pytest.approx(count.sum(), rel=0.01)


def test_refits_do_not_know_of_each_other() -> None:
    rng = np.random.default_rng(17)
    evidence = evidence_of(np.log(rng.uniform(80, 200, 150)), seed=18)
    best = fit_mixtures(evidence)[0].mixture
    counts = rng.poisson(1.0, (5, 150))
    together = replicates._refit(evidence, best, counts)
    (alone,) = replicates._refit(evidence, best, counts[3:4])
    assert alone.centre == pytest.approx(together[3].centre, abs=1e-9)
    assert alone.number == pytest.approx(together[3].number, rel=1e-9)


@pytest.mark.parametrize("each", [1.0, 6.0])
def test_resampled_tracks_scatter_as_many_as_one_particle_makes(each: float) -> None:
    evidence = evidence_of(math.log(95.0) + 0.3 * np.random.default_rng(1).normal(size=600), seed=2, tracks_per_particle=each)
    best = fit_mixtures(evidence)[0].mixture
    counts = replicates._resampled_counts(evidence, best, 400, np.random.default_rng(3)).astype(float)
    assert counts.shape == (400, 600)
    assert counts.mean() == pytest.approx(1.0, abs=4 * math.sqrt(each / 600 / 400))
    assert counts.sum(axis=1).var() == pytest.approx(600 * each, rel=0.25)
    # those of one size come and go together
    large = evidence.matrix.argmax(axis=1) > np.median(evidence.matrix.argmax(axis=1))
    small_sum, large_sum = counts[:, ~large].sum(axis=1), counts[:, large].sum(axis=1)
    assert abs(np.corrcoef(small_sum, large_sum)[0, 1]) < (0.2 if each == 1 else 0.45)


def test_spread_of_the_replicates_is_that_of_repeated_measurements() -> None:
    def measured(seed: int) -> tuple[Evidence, Mixture]:
        rng = np.random.default_rng(seed)
        ln_d = np.repeat(math.log(95.0) + 0.3 * rng.normal(size=60), 4)  # each of 60 particles comes four times
        evidence = evidence_of(ln_d, seed=seed + 1000, tracks_per_particle=4.0)
        return evidence, mixture._climb(evidence, mixture._beginning(evidence)).mixture

    centres = np.array([measured(s)[1].centre[0] for s in range(60)])
    told = []
    for seed in range(3):
        evidence, best = measured(seed)
        counts = replicates._resampled_counts(evidence, best, 200, np.random.default_rng(0))
        told.append(np.std([m.centre[0] for m in replicates._refit(evidence, best, counts)]))
    # 0.3 / sqrt(60), and the error of a track
    assert np.std(centres) == pytest.approx(math.sqrt(0.3**2 / 60 + 0.2**2 / 240), rel=0.25)
    assert np.mean(told) == pytest.approx(np.std(centres), rel=0.3)


def test_models_are_drawn_as_often_as_they_are_probable() -> None:
    evidence = evidence_of(np.log(np.repeat([80.0, 160.0], 200)), seed=20)
    fits = fit_mixtures(evidence)
    even = tuple(replace(f, score=0.0 if i < 2 else -20.0) for i, f in enumerate(fits))
    drawn = draw_replicates(evidence, even, 100, np.random.default_rng(0))
    assert len(drawn) == 100
    kinds = [(m.widths, len(m.centre) - 2) for m in drawn]  # each with the two ends that were met
    assert [kinds.count((f.mixture.widths, len(f.mixture.centre))) for f in fits[:2]] == [50, 50]


def test_half_a_particle_more_is_expected_at_either_end() -> None:
    evidence = evidence_of(np.log(np.repeat([80.0, 300.0], [180, 20])), seed=21)
    drawn = draw_replicates(evidence, fit_mixtures(evidence)[:1], 400, np.random.default_rng(1))
    ends = np.array([m.centre[-2:] for m in drawn])
    assert np.ptp(ends, axis=0) == pytest.approx(0)
    assert np.exp(ends[0]) == pytest.approx([80, 300], rel=0.05)
    # Jeffreys: gamma of shape a half
    numbers = np.array([m.number[-2:] for m in drawn])
    assert numbers.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.15)
    assert numbers.var(axis=0) == pytest.approx([0.5, 0.5], rel=0.6)
    assert np.array([m.width[-2:] for m in drawn]) == pytest.approx(np.full((400, 2), NARROWEST))


def test_same_seed_same_replicates() -> None:
    evidence = evidence_of(np.log(np.random.default_rng(22).uniform(60, 200, 80)), seed=23)
    fits = fit_mixtures(evidence)
    one, again, other = (draw_replicates(evidence, fits, 20, np.random.default_rng(s)) for s in (5, 5, 6))
    assert all(np.array_equal(a.cells(LN), b.cells(LN)) for a, b in zip(one, again, strict=True))
    assert not any(np.array_equal(a.cells(LN), b.cells(LN)) for a, b in zip(one, other, strict=True))
