from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from nta import distribution as module
from nta.diffusion import Diffusion, size_grid_nm
from nta.distribution import STATISTICS, Distribution, Interval, find_distribution, fine_grid_nm
from nta.presence import Presence
from nta.settings import Settings, Used
from nta.tracks import Tracks

GRID = size_grid_nm()
STEP = math.log(GRID[1] / GRID[0])
N_FRAMES = 50


def log_normal_weight(median_nm: float, gsd: float) -> np.ndarray:
    """Return the exact share of each grid cell."""
    edges = np.append(np.log(GRID) - STEP / 2, np.log(GRID[-1]) + STEP / 2)
    weight = np.diff(norm.cdf((edges - math.log(median_nm)) / math.log(gsd)))
    return weight / weight.sum()


def by_hand(weight: np.ndarray, replicates: np.ndarray | None = None, scale_sd: float = 0.0, seed: int = 0) -> Distribution:
    replicates = np.repeat(weight[None], 50, axis=0) if replicates is None else replicates
    scale = np.exp(scale_sd * np.random.default_rng(seed).normal(size=len(replicates)))
    return Distribution(GRID, weight, weight, replicates, scale, scale_sd, np.empty(0), Interval(0, 0, 0, 0, 0))


@pytest.mark.parametrize(("median", "gsd"), [(95.0, 1.45), (150.0, 1.2), (250.0, 1.8)])
def test_statistics_of_a_log_normal_are_analytic(median: float, gsd: float) -> None:
    found, s = by_hand(log_normal_weight(median, gsd)), math.log(gsd)
    z = 1.2815516
    expected = {
        "mean": median * math.exp(s * s / 2),
        "mode": median * math.exp(-s * s),  # of the density per nm
        "sd": median * math.exp(s * s / 2) * math.sqrt(math.expm1(s * s)),
        "d10": median * math.exp(-z * s),
        "d50": median,
        "d90": median * math.exp(z * s),
        "span": 2 * math.sinh(z * s),
    }
    assert set(expected) == set(STATISTICS)
    for name, value in expected.items():
        assert found.statistic(name).value == pytest.approx(value, rel=0.004), name
    assert found.share(0, median).value == pytest.approx(0.5, abs=1e-4)
    assert found.share(median, median * gsd).value == pytest.approx(0.3413, abs=1e-3)


def test_one_cell_by_hand() -> None:
    weight = np.zeros(len(GRID))
    weight[60] = 1.0
    found = by_hand(weight)
    low, high = found.edges_nm[60:62]
    assert (low * high) ** 0.5 == pytest.approx(GRID[60])
    assert found.share(low, high).value == pytest.approx(1)
    assert found.share(GRID[60], high).value == pytest.approx(0.5)
    assert found.statistic("d50").value == pytest.approx(GRID[60])
    assert found.statistic("d10").value == pytest.approx(low * (high / low) ** 0.1)
    # uniform in ln d over a cell: mean (b - a) / ln(b / a)
    assert found.statistic("mean").value == pytest.approx((high - low) / math.log(high / low), rel=1e-9)
    assert found.statistic("mode").value == pytest.approx(GRID[60], rel=0.04)


@given(st.lists(st.floats(1, 5000), min_size=2, max_size=12, unique=True), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_shares_add_up_whatever_the_edges(edges: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.dirichlet(np.full(len(GRID), 0.2))
    found = by_hand(weight, rng.dirichlet(np.full(len(GRID), 0.2), size=5), 0.05, seed)
    edges = sorted(edges)
    shares = found.shares([0.0, *edges, math.inf])
    assert sum(s.value for s in shares) == pytest.approx(1, abs=1e-12)
    assert found.share(edges[0], edges[-1]).value == pytest.approx(sum(s.value for s in shares[1:-1]), abs=1e-12)
    for s in shares:
        assert -1e-12 <= s.low <= s.low_stat <= s.value <= s.high_stat <= s.high <= 1 + 1e-12


def test_intervals_are_percentiles_of_the_replicates() -> None:
    rng = np.random.default_rng(1)
    medians = 100 * np.exp(0.05 * rng.normal(size=2000))
    found = by_hand(log_normal_weight(100.0, 1.3), np.array([log_normal_weight(m, 1.3) for m in medians]))
    d50 = found.statistic("d50")
    assert d50.low_stat == pytest.approx(np.percentile(medians, 2.5), rel=2e-3)
    assert d50.high_stat == pytest.approx(np.percentile(medians, 97.5), rel=2e-3)
    assert d50.low == pytest.approx(d50.low_stat)
    assert d50.high == pytest.approx(d50.high_stat)


def test_what_all_diameters_share_widens_lengths_and_not_ratios() -> None:
    weight = log_normal_weight(100.0, 1.3)
    found = by_hand(weight, np.repeat(weight[None], 4000, axis=0), scale_sd=0.03)
    for name in STATISTICS:
        s = found.statistic(name)
        assert s.low_stat == pytest.approx(s.value)
        assert s.high_stat == pytest.approx(s.value)
        width = 0.0 if name == "span" else 1.96 * 0.03
        assert math.log(s.high / s.value) == pytest.approx(width, abs=0.004)
        assert math.log(s.value / s.low) == pytest.approx(width, abs=0.004)
    share = found.share(0, 100.0)
    # the density at the median of ln d is phi(0) / ln 1.3
    assert share.high - share.value == pytest.approx(1.96 * 0.03 * 0.3989 / math.log(1.3), rel=0.1)


def test_an_empty_distribution_says_so_everywhere() -> None:
    nothing = np.zeros(len(GRID))
    found = Distribution(GRID, nothing, nothing, np.empty((0, len(GRID))), np.empty(0), 0.02, np.empty(0), Interval(0, 0, 0, 0, 0))
    assert found.empty
    assert not by_hand(log_normal_weight(100.0, 1.2)).empty
    assert all(math.isnan(v) for name in STATISTICS for v in vars(found.statistic(name)).values())
    assert len(found.shares([0, 1, 2, 3])) == 3
    assert math.isnan(found.share(0, math.inf).value)


def problem(
    ln_d: np.ndarray, width: float = 0.2, seed: int = 0, tracks_each: np.ndarray | float = 1.0
) -> tuple[Tracks, Diffusion, Presence]:
    """Return tracks of whole known spans, likelihoods that know ln d to `width`, and a presence of `tracks_each` per particle."""
    n = len(ln_d)
    frames = np.arange(12)
    tracks = naive.make_tracks([(frames, frames, frames)] * n, n_frames=N_FRAMES)
    guess = ln_d + width * np.random.default_rng(seed).normal(size=n)
    loglik = -0.5 * ((np.log(GRID) - guess[:, None]) / width) ** 2
    loglik -= loglik.max(axis=1, keepdims=True)
    d = 490.7 / np.exp(guess)
    others = np.full((4, n), -40.0)
    found = Diffusion(np.arange(n), d, d / 1.4, d * 1.4, np.full(n, 11), GRID, loglik.astype(np.float32), *others, np.ones(n), 490.7)
    each = np.broadcast_to(np.asarray(tracks_each, float), GRID.shape)
    presence = Presence(np.log(np.tile(each, (N_FRAMES + 1, 1))), each.copy(), np.full(len(GRID), 8.0), 2.0 * each)
    return tracks, found, presence


def distribute(parts: tuple[Tracks, Diffusion, Presence], seed: int = 0) -> Distribution:
    return find_distribution(*parts, naive.calibration(), Settings().with_options(seed=seed))


@pytest.fixture(scope="module", autouse=True)
def few_replicates() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REPLICATES", 40)
        yield


CASES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "narrow": lambda rng: np.full(120, math.log(100.0)),
    "bimodal": lambda rng: np.log(rng.permutation(np.repeat([80.0, 200.0], [140, 60]))),
    "log-normal": lambda rng: math.log(95.0) + math.log(1.45) * norm.ppf((np.arange(200) + 0.5) / 200),
}


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[tuple[Tracks, Diffusion, Presence], Distribution]]:
    parts = {name: problem(draw(np.random.default_rng(2)), seed=3) for name, draw in CASES.items()}
    return {name: (p, distribute(p)) for name, p in parts.items()}


Found = dict[str, tuple[tuple[Tracks, Diffusion, Presence], Distribution]]


@pytest.mark.parametrize("name", list(CASES))
def test_weights_are_shares_and_intervals_hold_their_values(found: Found, name: str) -> None:
    (_, diffusion, _), dist = found[name]
    for weight in (dist.weight, dist.unweighted, *dist.replicates):
        assert weight.sum() == pytest.approx(1, rel=1e-9)
        assert np.all(weight >= 0)
    assert len(dist.replicates) == len(dist.scale) == 40
    for statistic in STATISTICS:
        s = dist.statistic(statistic)
        assert s.low <= s.low_stat <= s.value <= s.high_stat <= s.high
    assert dist.posterior.shape == (len(diffusion), len(GRID))
    assert dist.posterior.sum(axis=1) + dist.outlier.sum(axis=1) == pytest.approx(np.ones(len(diffusion)), abs=1e-6)
    assert sum(p.fraction for p in dist.peaks) == pytest.approx(1)
    assert [p.diameter_nm for p in dist.peaks] == sorted(p.diameter_nm for p in dist.peaks)
    assert np.array_equal(dist.raw_nm, diffusion.raw_diameters_nm())
    # 200 tracks, one a particle, in a depth of 8 um: 8 times the number per um
    assert dist.number_in_view.value == pytest.approx(8.0 * len(diffusion), rel=0.05)
    assert dist.number_in_view.low <= dist.number_in_view.value <= dist.number_in_view.high
    assert np.all(dist.outlier.sum(axis=1) < 0.2)


@pytest.mark.parametrize("name", list(CASES))
def test_number_in_view_is_uncertain_by_the_luck_of_a_count(found: Found, name: str) -> None:
    (_, diffusion, _), dist = found[name]
    number = dist.number_in_view
    # n independent particles: a Poisson count
    expected = 2 * 1.96 / math.sqrt(len(diffusion))
    assert 0.6 * expected < math.log(number.high_stat / number.low_stat) < 2.0 * expected
    assert number.low_stat < number.value < number.high_stat


def test_one_size_is_narrow_again(found: Found) -> None:
    _, dist = found["narrow"]
    assert dist.statistic("d50").value == pytest.approx(100.0, rel=0.04)
    assert dist.statistic("mode").value == pytest.approx(100.0, rel=0.05)
    assert dist.statistic("sd").value < 12
    assert dist.raw_nm.std() > 17
    assert [p.diameter_nm for p in dist.peaks] == pytest.approx([100.0], rel=0.04)


def test_two_sizes_are_two_peaks(found: Found) -> None:
    _, dist = found["bimodal"]
    assert [p.diameter_nm for p in dist.peaks] == pytest.approx([80.0, 200.0], rel=0.06)
    assert [p.fraction for p in dist.peaks] == pytest.approx([0.7, 0.3], abs=0.06)
    assert dist.share(0, 126).value == pytest.approx(0.7, abs=0.06)
    assert dist.statistic("d10").value == pytest.approx(80.0, rel=0.12)
    assert dist.statistic("d90").value == pytest.approx(200.0, rel=0.12)


def test_a_log_normal_is_a_log_normal(found: Found) -> None:
    _, dist = found["log-normal"]
    s = math.log(1.45)
    for name, value, within in (("d10", 95 * math.exp(-1.2816 * s), 0.1), ("d50", 95, 0.05), ("d90", 95 * math.exp(1.2816 * s), 0.1)):
        interval = dist.statistic(name)
        assert interval.value == pytest.approx(value, rel=within)
        assert interval.low < value < interval.high
    assert len(dist.peaks) == 1
    assert dist.peaks[0].gsd == pytest.approx(1.45, rel=0.1)
    # as wide as 200 independent particles allow: 1.25 sd / sqrt(200), and the size's own error
    d50 = dist.statistic("d50")
    expected = 2 * 1.96 * 1.25 * math.hypot(s, 0.2) / math.sqrt(200)
    assert 0.5 * expected < math.log(d50.high_stat / d50.low_stat) < 2.0 * expected


def test_seed_decides_the_replicates_and_not_the_estimate() -> None:
    parts = problem(CASES["log-normal"](np.random.default_rng(0))[::4], seed=4)
    first, again, other = distribute(parts, 7), distribute(parts, 7), distribute(parts, 8)
    for name in ("weight", "replicates", "scale", "posterior"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.weight.tobytes() == other.weight.tobytes()
    assert not np.array_equal(first.replicates, other.replicates)
    assert not np.array_equal(first.scale, other.scale)


def test_tracks_that_come_back_are_fewer_particles() -> None:
    ln_d = np.log(np.repeat(95 * 1.45 ** np.random.default_rng(5).normal(size=20), 6))
    tracks, diffusion, presence = problem(ln_d, seed=6)
    found = []
    for visits in (2.0, 12.0):  # tracks that each different particle makes
        each = Presence(presence.log_tracks, presence.tracks, presence.depth_um, presence.tracks / visits)
        found.append(find_distribution(tracks, diffusion, each, naive.calibration(), Settings()))
    few, many = found[1], found[0]
    # tracks of a visitor are a count about its time in view, which is uneven: 1 + pi / 2 of them count as one
    as_one = [1 + math.pi / 2 * visits for visits in (2.0, 12.0)]
    assert many.independent_particles == pytest.approx(as_one[1] / as_one[0] * few.independent_particles, rel=0.02)
    assert many.independent_particles == pytest.approx(120 / as_one[0], rel=0.1)
    assert np.ptp(many.seen_if_all / few.seen_if_all) < 1e-9
    assert few.weight.tobytes() == many.weight.tobytes()
    # sqrt(4.8) wider, give or take
    few_d50, many_d50 = (math.log(d.statistic("d50").high_stat / d.statistic("d50").low_stat) for d in (few, many))
    assert 1.4 < few_d50 / many_d50 < 5


def test_many_short_tracks_of_small_particles_do_not_make_them_many() -> None:
    each = np.where(GRID < 200, 6.0, 1.0)
    ln_d = np.log(np.repeat([100.0, 400.0], [180, 30]))
    dist = distribute(problem(ln_d, seed=7, tracks_each=each))
    assert dist.share(0, 200).value == pytest.approx(0.5, abs=0.05)
    below = dist.unweighted[fine_grid_nm() < 200].sum()
    assert below == pytest.approx(6 / 7, abs=0.03)


def test_what_does_not_diffuse_is_left_out() -> None:
    tracks, diffusion, presence = problem(np.full(80, math.log(100.0)), seed=8)
    diffusion.loglik_immobile[:20] = 60.0
    diffusion.loglik_noise[20:40] = 60.0
    dist = distribute((tracks, diffusion, presence))
    assert np.all(dist.outlier[:20, 0] > 0.99)
    assert np.all(dist.outlier[20:40, 1] > 0.99)
    assert np.all(dist.outlier[40:].sum(axis=1) < 0.01)
    assert dist.number_in_view.value == pytest.approx(8.0 * 40, rel=0.05)


def test_only_what_does_not_diffuse_is_no_peak_of_its_own() -> None:
    tracks, diffusion, presence = problem(np.full(12, math.log(100.0)), seed=9)
    diffusion.loglik_immobile[:] = 60.0
    dist = distribute((tracks, diffusion, presence))
    assert np.all(dist.outlier[:, 0] > 0.99)
    assert all(GRID[0] <= p.diameter_nm <= GRID[-1] for p in dist.peaks)
    assert dist.number_in_view.value < 1.0


def test_one_track_is_a_distribution_too() -> None:
    dist = distribute(problem(np.full(1, math.log(100.0)), seed=10))
    assert dist.weight.sum() == pytest.approx(1)
    assert 50 < dist.statistic("d50").value < 200


def test_nothing_sized_is_empty() -> None:
    tracks = naive.make_tracks([], n_frames=10)
    none = np.empty(0)
    diffusion = Diffusion(
        np.empty(0, np.int64), none, none, none, np.empty(0, np.int64), GRID, np.empty((0, len(GRID)), np.float32), *[none] * 5, 490.7
    )
    dist = find_distribution(tracks, diffusion, None, naive.calibration(), Settings())
    assert dist.empty
    assert dist.peaks == ()
    assert dist.number_in_view == Interval(0, 0, 0, 0, 0)


def test_shared_uncertainty_is_the_sum_of_its_parts() -> None:
    _, diffusion, _ = problem(np.zeros(1))
    calibration = naive.calibration()
    # 0.3 C: 1/298.15 + 0.0225 a degree; 0.5 % of a pixel twice; 2 % of 15 ms a third of the frame rate
    parts = np.array([0.3 * (1 / 298.15 + 0.02252), 2 * 0.005, 0.0003 * 25 / 3])
    assert module._scale_sd(calibration, diffusion, Settings()) == pytest.approx(math.sqrt(np.sum(parts**2)), rel=0.02)
    given_by_hand = Settings().with_options(viscosity_mpas=0.9)
    parts[0] = 0.3 / 298.15
    assert module._scale_sd(calibration, diffusion, given_by_hand) == pytest.approx(math.sqrt(np.sum(parts**2)), rel=0.02)


def test_exposure_not_known_costs_what_its_estimate_leaves() -> None:
    _, diffusion, _ = problem(np.zeros(1))
    guessed = Diffusion(**{**vars(diffusion), "chosen": {"exposure_ms": Used(15.0, "measured", 3.0)}})
    known = module._scale_sd(naive.calibration(), diffusion, Settings())
    unknown = module._scale_sd(naive.calibration(exposure_ms=None), guessed, Settings())
    # d goes as 1 - te / (3 dt), 0.125 of a frame here
    slope = 25 / 3 / (1 - 0.125)
    assert unknown**2 - known**2 == pytest.approx((0.003 * slope) ** 2 - (0.0003 * slope) ** 2)


def test_correlated_frames_leave_their_doubt_in_the_interval() -> None:
    _, diffusion, _ = problem(np.zeros(1))
    doubtful = Diffusion(**{**vars(diffusion), "chosen": {"correlation_doubt": Used(0.02, "measured")}})
    sure, unsure = (module._scale_sd(naive.calibration(), d, Settings()) for d in (diffusion, doubtful))
    assert unsure**2 - sure**2 == pytest.approx(0.02**2)


@pytest.mark.parametrize("name", ["loglik_directed", "loglik_confined"])
def test_tracks_that_do_not_diffuse_freely_are_left_out(name: str) -> None:
    rng = np.random.default_rng(3)
    tracks, diffusion, presence = problem(np.log(np.append(np.full(200, 100.0), np.full(20, 600.0))))
    other = np.append(rng.normal(-1.0, 1.0, 200), np.full(20, 12.0))
    strange = Diffusion(**{**vars(diffusion), name: other})
    dist = find_distribution(tracks, strange, presence, naive.calibration(), Settings())
    column = ["loglik_immobile", "loglik_noise", "loglik_directed", "loglik_confined"].index(name)
    assert np.all(dist.outlier[200:, column] > 0.9)
    assert np.mean(dist.outlier[:200] > 0.5) < 0.005
    assert dist.share(400.0, math.inf).value < 0.001
    # they would be a tenth of it
    plain = find_distribution(tracks, diffusion, presence, naive.calibration(), Settings())
    assert plain.share(400.0, math.inf).value == pytest.approx(20 / 220, abs=0.02)
    assert np.all(plain.outlier < 0.01)


def test_what_is_not_known_of_the_light_tilts_the_replicates() -> None:
    tracks, diffusion, presence = problem(CASES["bimodal"](np.random.default_rng(2)), seed=3)
    ln = np.log(GRID / 100.0)
    doubtful = replace(presence, doubt=np.array([0.3 * ln, 0.2 * np.ones(len(ln))]))
    sure, unsure = (find_distribution(tracks, diffusion, p, naive.calibration(), Settings()) for p in (presence, doubtful))
    assert sure.weight.tobytes() == unsure.weight.tobytes()
    # ln of 200 over 80, times 0.3: of shares of 0.7 and 0.3
    spread = 0.3 * math.log(2.5) * 0.7 * 0.3
    told = [np.std(np.diff([d._below(np.array([126.0]), b + 1)[0] for b in range(40)])) for d in (sure, unsure)]
    assert math.sqrt(max(told[1] ** 2 - told[0] ** 2, 0.0) / 2) == pytest.approx(spread, rel=0.5)
    assert unsure.number_per_um.high > 1.1 * sure.number_per_um.high


def test_a_tilt_has_an_end_where_the_tracks_have() -> None:
    ln = np.log(GRID)
    found = np.where((GRID > 80) & (GRID < 300), 1.0, 0.0)
    _, _, presence = problem(np.zeros(1))
    more = module._more_particles(replace(presence, doubt=(ln - ln.mean())[None]), ln, found, 5, 0)
    assert np.ptp(more[:, GRID < 75], axis=1) == pytest.approx(np.zeros(5), abs=1e-12)
    assert np.ptp(more[:, GRID > 320], axis=1) == pytest.approx(np.zeros(5), abs=1e-12)
    inside = (GRID > 90) & (GRID < 280)
    for row in more:
        slope = np.diff(row[inside]) / np.diff(ln[inside])
        assert slope == pytest.approx(slope[0] * np.ones(len(slope)), rel=1e-9)
    assert module._more_particles(presence, ln, found, 5, 0) == pytest.approx(np.zeros((5, len(ln))))
