"""Likelihood matrix -> log-normal mixture: how many populations there are, where, how wide, and how many particles each has.

The distribution that is reported. Populations narrower than the tracks can tell are of one size: `NARROWEST` wide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nta.blocks import LEAST, blocks, expect

Widths = Literal["own", "shared", "none"]
MOST_COMPONENTS = 4
NARROWEST, WIDEST = 0.002, 1.5  # of a component, in ln d; the narrowest standards of beads are 0.01
FEWEST_TRACKS, FEWEST_PARTICLES = 1e-5, 1e-6  # of a kind of outlier, of a component: so that their ln exist
ODDS = 20.0  # by which the tracks must be more probable with a further population: strong evidence (Kass & Raftery 1995)
PART = 0.05  # of all tracks that a new component begins with
APART, HALVES = 0.15, (0.9, 0.5)  # the two that one is cut into: of one size, in ln d; else in its widths, distance and width of each
CLEARLY_WIDE = 0.08  # narrower ones are not cut in two of some width
BEGINNING = 0.06  # width that sizes begin with, where they are freed
TOLERANCE = 1e-9  # of the log-likelihood, relative


@dataclass(frozen=True)
class Mixture:
    """Log-normal components of numbers of particles.

    Attributes
    ----------
    number : (j,) float64, particles of each
    centre, width : (j,) float64, ln of the median in nm, SD of ln d
    outlier : (o,) float64, tracks of each kind of what does not diffuse
    widths : which are fitted: each its ``own``, one ``shared`` by all, or ``none``: all are of one size each, `NARROWEST` wide
    """

    number: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    outlier: np.ndarray
    widths: Widths = "own"

    @property
    def share(self) -> np.ndarray:
        """(j,) number fractions, sum 1."""
        return np.asarray(self.number / self.number.sum())

    def cells(self, ln_d: np.ndarray) -> np.ndarray:
        """Return the numbers at the points of a grid, (k,): between two points a particle is shared by how near it is to either.

        A likelihood then is interpolated linearly over ln d, and a component has its place between the points too.
        """
        return np.asarray(self.number @ _shapes(self.centre, self.width, ln_d)[0])

    def slopes(self, ln_d: np.ndarray) -> np.ndarray:
        """Return the slopes of `cells` over the parameters, (p, k): ln of numbers, centres, squares of the widths that are fitted."""
        shape, by_centre, by_square = (self.number[:, None] * slope for slope in _shapes(self.centre, self.width, ln_d))
        return np.concatenate([shape, by_centre, by_square if self.widths == "own" else self._summed(by_square)])

    def _summed(self, rows: np.ndarray) -> np.ndarray:
        """Return the sum of the rows where all share one, none of them where they have none."""
        return rows.sum(axis=0, keepdims=True) if self.widths == "shared" else rows[:0]

    def below(self, ln_d: np.ndarray) -> np.ndarray:
        """Return the number fraction below each ln d."""
        from scipy.special import ndtr

        return np.asarray(self.share @ ndtr((ln_d - self.centre[:, None]) / self.width[:, None]))


@dataclass(frozen=True)
class Fit:
    """A mixture, its log-likelihood, and `score`: that less what its parameters cost; higher is better."""

    mixture: Mixture
    loglik: float
    score: float


@dataclass(frozen=True)
class Evidence:
    """What a mixture is fitted to.

    Attributes
    ----------
    matrix : (m, k), likelihood of each track (rows scaled at will) times the expected tracks of its length, per particle of each size
    expected : (k,), expected tracks per particle of each size
    outliers : (m, o), likelihood of each track under what is no diffusing particle
    ln_d : (k,), evenly spaced
    tracks_per_particle : (k,), tracks that one different particle makes; no less than 1
    visitors : (k,), different particles that come by, per particle of each size
    """

    matrix: np.ndarray
    expected: np.ndarray
    outliers: np.ndarray
    ln_d: np.ndarray
    tracks_per_particle: np.ndarray
    visitors: np.ndarray

    def expect(self, number: np.ndarray, other: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return `blocks.expect` of numbers (k,) and outliers (o,), each track counted once."""
        return expect(self.matrix, self.outliers, np.ones(len(self.matrix)), number, other)


def fit_mixtures(evidence: Evidence) -> tuple[Fit, ...]:
    """Fit mixtures of 1, 2 ... components, with widths of their own, with one in common, and of one size each; the best first.

    The score is the Bayesian information criterion of a composite likelihood (Gao & Song 2010, eq. 7): the tracks of one particle are
    not independent, and what tells more of which particles came than of their distribution costs more than a parameter.
    """
    own = _climb(evidence, _beginning(evidence))
    none = _climb(evidence, _with_widths(own.mixture, "none", NARROWEST))
    found = [own, none]
    best = max(f.score for f in found)
    for _ in range(1, MOST_COMPONENTS):
        own = _best(evidence, _grown(evidence, own.mixture))
        none = _best(evidence, [_with_widths(own.mixture, "none", NARROWEST), *_grown(evidence, none.mixture)])
        typical = float(np.sqrt(own.mixture.share @ own.mixture.width**2))
        shared = _best(evidence, [_with_widths(own.mixture, "shared", typical), _with_widths(none.mixture, "shared", BEGINNING)])
        freed = _climb(evidence, _with_widths(shared.mixture, "own", max(shared.mixture.width[0], BEGINNING)))
        own = max(own, freed, key=lambda f: f.loglik)
        further = [own, shared, none]
        found += further
        if max(f.score for f in further) <= best:
            break  # further components would have to make up for this one too
        best = max(best, *(f.score for f in further))
    return tuple(sorted(found, key=lambda f: -f.score))


def scores(evidence: Evidence, mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    """Return what tracks tell of the parameters of `Mixture.slopes`, (p, p), and what their dependence adds to its scores' scatter."""
    slopes = mixture.slopes(evidence.ln_d)
    cells, n = mixture.cells(evidence.ln_d), len(slopes)
    information, found, weighted = np.zeros((n, n)), np.zeros(len(cells)), np.zeros((len(cells), n))
    for rows, some in blocks(evidence.matrix):
        mixed = some @ cells + evidence.outliers[rows] @ mixture.outlier + LEAST
        score = (some @ slopes.T) / mixed[:, None]
        information += score.T @ score
        # tracks found in each cell, and the sum of their scores
        found += (1 / mixed) @ some
        weighted += some.T @ (score / mixed[:, None])
    found, weighted = found * cells, weighted * cells[:, None]
    more = (evidence.tracks_per_particle - 1) / np.maximum(found, 1e-12)
    return information, np.asarray((weighted * more[:, None]).T @ weighted)


def inverted(information: np.ndarray) -> np.ndarray:
    """Return the inverse of an information of parameters of any scale, (p, p); those on which nothing depends are held."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-12))
    both = np.outer(scale, scale)
    return np.asarray(np.linalg.inv(information / both + 1e-6 * np.eye(len(scale))) / both)


def expectation_steps(evidence: Evidence, number: np.ndarray, other: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers (k,) and outliers (o,) after steps of EM without any shape from those given; what is zero stays zero."""
    for _ in range(steps):
        _, found, joined = evidence.expect(number, other)
        number, other = number * (found / evidence.expected), other * joined
    return number, other


def _shapes(centre: np.ndarray, width: np.ndarray, ln_d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the share of each component at each grid point, (j, k), and its slopes over centre and square of the width.

    Shares are means of triangles about the points, those at the ends level beyond: second differences of ``E[(x - X)+]``.
    """
    from scipy.special import ndtr

    step = ln_d[1] - ln_d[0]
    z = (ln_d - centre[:, None]) / width[:, None]
    under, density = ndtr(z), np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * width[:, None])
    ramp = (ln_d - centre[:, None]) * under + width[:, None] ** 2 * density

    def second(value: np.ndarray, last_slope: float) -> np.ndarray:
        slope = np.diff(value, axis=1) / step
        ends = np.zeros((len(value), 1)), np.full((len(value), 1), last_slope)
        return np.diff(np.concatenate([ends[0], slope, ends[1]], axis=1), axis=1)

    # rounding leaves less than nothing where nothing is
    return np.maximum(second(ramp, 1.0), 0.0), second(-under, 0.0), second(0.5 * density, 0.0)


def _beginning(evidence: Evidence) -> Mixture:
    """Return one component with the moments of a free density after a few steps of EM."""
    k, o, m = len(evidence.ln_d), evidence.outliers.shape[1], len(evidence.matrix)
    number, other = expectation_steps(evidence, np.full(k, m / k) / evidence.expected, np.full(o, 0.01 * m), 30)
    # by tracks, since what is hardly seen may be of any number
    found = np.maximum(number * evidence.expected, FEWEST_TRACKS / k)
    weight = found / found.sum()
    centre = float(weight @ evidence.ln_d)
    width = float(np.sqrt(max(weight @ (evidence.ln_d - centre) ** 2, 0.01)))
    each = float(np.interp(centre, evidence.ln_d, evidence.expected))
    return Mixture(np.array([found.sum() / each]), np.array([centre]), np.array([width]), np.maximum(other, FEWEST_TRACKS))


def _with_widths(mixture: Mixture, widths: Widths, width: float) -> Mixture:
    return Mixture(mixture.number, mixture.centre, np.full(len(mixture.centre), width), mixture.outlier, widths)


def _grown(evidence: Evidence, mixture: Mixture) -> Iterable[Mixture]:
    """Yield what has one component more: where the tracks ask for one most, or one of those there are cut in two."""
    cells = mixture.cells(evidence.ln_d)
    _, found, _ = evidence.expect(cells, mixture.outlier)
    lacking = int(np.argmax(found / evidence.expected))
    few = PART * float(cells @ evidence.expected) / evidence.expected[lacking]
    width = NARROWEST if mixture.widths == "none" else BEGINNING
    yield Mixture(
        np.append(mixture.number, few), np.append(mixture.centre, evidence.ln_d[lacking]), np.append(mixture.width, width),
        mixture.outlier, mixture.widths,
    )  # fmt: skip
    for i in range(len(mixture.centre)):
        if mixture.widths == "none":
            away, each = APART, NARROWEST
        elif mixture.width[i] > CLEARLY_WIDE:
            away, each = (f * mixture.width[i] for f in HALVES)
        else:
            continue
        rest = np.arange(len(mixture.centre)) != i
        yield Mixture(
            np.append(mixture.number[rest], [mixture.number[i] / 2] * 2),
            np.append(mixture.centre[rest], [mixture.centre[i] - away, mixture.centre[i] + away]),
            np.append(mixture.width[rest], [each] * 2),
            mixture.outlier,
            mixture.widths,
        )


def _best(evidence: Evidence, candidates: Iterable[Mixture]) -> Fit:
    return max((_climb(evidence, c) for c in candidates), key=lambda f: f.loglik)


def _climb(evidence: Evidence, start: Mixture) -> Fit:
    """Return the most likely mixture of as many components near `start`, and its score."""
    from scipy.optimize import minimize

    j, o = len(start.centre), len(start.outlier)
    fitted = {"own": j, "shared": 1, "none": 0}[start.widths]

    def mixture_at(p: np.ndarray) -> Mixture:
        width = np.exp(p[2 * j : 2 * j + fitted]) if fitted else np.array([NARROWEST])
        return Mixture(np.exp(p[:j]), p[j : 2 * j], np.broadcast_to(width, j), np.exp(p[len(p) - o :]), start.widths)

    def cost(p: np.ndarray) -> tuple[float, np.ndarray]:
        mixture = mixture_at(p)
        slopes = mixture.slopes(evidence.ln_d)
        slopes[2 * j :] *= 2 * mixture.width[:fitted, None] ** 2  # over ln of the width
        cells = mixture.cells(evidence.ln_d)
        reached, growth, joined = evidence.expect(cells, mixture.outlier)
        loglik = reached - cells @ evidence.expected - mixture.outlier.sum()
        return -loglik, -np.concatenate([slopes @ (growth - evidence.expected), mixture.outlier * (joined - 1)])

    m = len(evidence.matrix)
    most = np.log(10.0 * m / evidence.expected.min())
    bounds = [(np.log(FEWEST_PARTICLES), most)] * j + [(evidence.ln_d[0], evidence.ln_d[-1])] * j
    bounds += [(np.log(NARROWEST), np.log(WIDEST))] * fitted + [(np.log(FEWEST_TRACKS), np.log(2.0 * m))] * o
    at = np.concatenate([np.log(start.number), start.centre, np.log(start.width[:fitted]), np.log(start.outlier)])
    low, high = np.array(bounds).T
    found = minimize(cost, np.clip(at, low, high), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": TOLERANCE, "gtol": 1e-3})
    mixture = mixture_at(found.x)
    order = np.argsort(mixture.centre)
    mixture = Mixture(mixture.number[order], mixture.centre[order], mixture.width[order], mixture.outlier, start.widths)
    return Fit(mixture, float(-found.fun), float(-found.fun) - _price(evidence, mixture))


def _price(evidence: Evidence, mixture: Mixture) -> float:
    """Return by what the log-likelihood of a mixture is too good: half the ln of the particles for each parameter, dependence counted."""
    information, more = scores(evidence, mixture)
    parameters = len(information) + float(np.sum(inverted(information) * more))  # the trace of the product of two symmetric matrices
    cells = mixture.cells(evidence.ln_d)
    particles = max(float(cells @ (evidence.expected / evidence.tracks_per_particle)), 2.0)
    return float(0.5 * np.log(particles) * parameters + np.log(ODDS) * (len(mixture.centre) - 1))
