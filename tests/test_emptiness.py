from __future__ import annotations

import math

import numpy as np
import pytest
from test_mixture import LN, evidence_of

from nta.emptiness import find_emptiable, likelihood_bounds
from nta.mixture import Evidence, expectation_steps, fit_mixtures


def test_likelihood_lies_within_its_bounds() -> None:
    truth = np.log(np.random.default_rng(19).uniform(80, 200, 200))
    whole = evidence_of(truth, seed=20)
    evidence = Evidence(whole.matrix, np.linspace(3, 1, len(LN)), np.full((200, 2), 1e-3), LN, whole.tracks_per_particle, whole.visitors)
    at = np.full(len(LN), 2.0), np.full(2, 1.0)
    before, bounds = -np.inf, []
    for steps in (1, 10, 100, 2000):
        at = expectation_steps(evidence, *at, steps)
        reached, most = likelihood_bounds(evidence, *at)
        by_hand = np.sum(np.log(evidence.matrix @ at[0] + evidence.outliers @ at[1])) - evidence.expected @ at[0] - at[1].sum()
        assert reached == pytest.approx(by_hand, rel=1e-12)
        assert before < reached <= most
        before = reached
        bounds.append(most)
    assert all(most >= before for most in bounds)
    assert bounds[-1] - before < 1.0 < bounds[0] - before


def test_what_is_zero_stays_zero() -> None:
    evidence = evidence_of(np.full(50, math.log(100.0)))
    number = np.where(math.log(90.0) < LN, 1.0, 0.0)
    found, _ = expectation_steps(evidence, number, np.full(2, 0.1), 20)
    assert np.all(found[math.log(90.0) >= LN] == 0)
    assert found.sum() == pytest.approx(50, rel=0.01)


def test_only_a_range_that_nobody_needs_can_be_empty() -> None:
    evidence = evidence_of(np.log(np.repeat([80.0, 200.0], [140, 60])), seed=3)
    mixture = fit_mixtures(evidence)[0].mixture
    test = find_emptiable(evidence, mixture, 1.0)
    assert test(600.0, math.inf)
    assert test(0.0, 30.0)
    assert not test(50.0, 120.0)
    assert not test(150.0, 300.0)
    # as much as the scale is unknown, an edge may be elsewhere
    assert not test(75.0, 300.0)
    assert find_emptiable(evidence, mixture, 1.2)(70.0, 90.0)


def test_one_particle_that_comes_often_is_easier_to_do_without_than_many() -> None:
    ln_d = np.log(np.repeat([100.0, 160.0], [200, 6]))
    often, once = (evidence_of(ln_d, 0.15, seed=4, tracks_per_particle=each) for each in (6.0, 1.0))
    empty = [find_emptiable(e, fit_mixtures(e)[0].mixture, 1.0)(130.0, math.inf) for e in (often, once)]
    assert empty == [True, False]
