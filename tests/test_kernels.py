from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.fft import dst

from nta.camera import TABLE_END, normal_strips, poisson_tables
from nta.kernels.camera import bits, count_electrons, read_out, uniform
from nta.kernels.likelihood import track_loglik
from nta.kernels.render import add_gaussians

D_100NM = naive.sphere_d_um2_s(100.0)


def loglik(
    x: np.ndarray,
    y: np.ndarray,
    frame: np.ndarray,
    variance: np.ndarray | float,
    start: np.ndarray,
    d: np.ndarray,
    dt: float = 1 / 30,
    exposure: float = 0.015,
    gate: float | np.ndarray = math.inf,
    wrong: float = 0.0,
) -> np.ndarray:
    """Return what the kernel writes, whatever the types given."""
    out = np.full((len(start) - 1, len(d)), np.nan)
    values = np.full(x.shape, variance)
    track_loglik(
        x,
        y,
        frame.astype(np.int64),
        values,
        start.astype(np.int64),
        np.asarray(d, float),
        dt,
        exposure,
        np.atleast_1d(gate).astype(float),
        wrong,
        out,
    )
    return out


def whole_tracks(at_um: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y, frame and start of (n_tracks, n_frames, 2) positions."""
    n, frames = at_um.shape[:2]
    x, y = (np.ascontiguousarray(at_um[..., axis].ravel()) for axis in (0, 1))
    return x, y, np.tile(np.arange(frames), n), np.arange(n + 1) * frames


@st.composite
def random_tracks(draw: st.DrawFn) -> dict[str, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    largest_gap = draw(st.integers(1, 4))
    frame = np.concatenate([np.cumsum(rng.integers(1, largest_gap + 1, n)) for n in lengths])
    n = len(frame)
    return {
        "x": rng.normal(scale=draw(st.floats(0.01, 5.0)), size=n),
        "y": rng.normal(scale=draw(st.floats(0.01, 5.0)), size=n),
        "frame": frame,
        "variance": rng.uniform(1e-4, 0.05, n),
        "start": np.concatenate([[0], np.cumsum(lengths)]),
        "d": np.append(10.0 ** rng.uniform(-2, 1.7, 3), 0.0),
    }


def twin_of(track: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by the names that the twin gives them."""
    names = {"x": "x_um", "y": "y_um", "frame": "frame", "variance": "variance_um2", "start": "start", "d": "diffusion_um2_s"}
    return {names[name]: value for name, value in track.items()}


GATES = [np.array(gate) for gate in ([0.3], [1.0, 2.0], [5.0, 0.5, 7.0], [math.inf])]


@given(random_tracks(), st.floats(0.001, 0.1), st.floats(0, 1), st.sampled_from(GATES))
@settings(max_examples=60)
def test_likelihood_equals_a_dense_normal_with_gaps_spot_errors_and_gates(
    track: dict[str, Any], dt: float, shutter: float, gate: np.ndarray
) -> None:
    fast = loglik(**track, dt=dt, exposure=shutter * dt, gate=gate)
    slow = naive.track_loglik(**twin_of(track), dt_s=dt, exposure_s=shutter * dt, gate_um=gate)
    assert fast == pytest.approx(slow, rel=1e-9, abs=1e-9)


@given(random_tracks(), st.floats(0.001, 0.1), st.floats(0, 1), st.sampled_from(GATES[:3]), st.floats(1e-6, 0.5))
@settings(max_examples=40)
def test_a_wrong_link_cuts_a_track_in_two(track: dict[str, Any], dt: float, shutter: float, gate: np.ndarray, wrong: float) -> None:
    fast = loglik(**track, dt=dt, exposure=shutter * dt, gate=gate, wrong=wrong)
    slow = naive.track_loglik(**twin_of(track), dt_s=dt, exposure_s=shutter * dt, gate_um=gate, wrong_share=wrong)
    assert fast == pytest.approx(slow, rel=1e-9, abs=1e-9)


def test_a_stranger_at_the_end_costs_one_step_anywhere_in_the_gate() -> None:
    rng = np.random.default_rng(0)
    at = naive.brownian_um(rng, 1, 10, D_100NM, 1 / 30, 0.015, 0.04)
    x, y, frame, start = whole_tracks(at)
    far = np.append(x[:-1], x[-2] + 5.0)
    d = np.array([0.5, 1.0, 2.0]) * D_100NM
    shorter = loglik(x[:-1], y[:-1], frame[:-1], 0.0016, np.array([0, 9]), d, gate=6.0)
    expected = shorter + math.log(0.01 / (math.pi * 36)) + 8 * math.log(0.99)
    assert loglik(far, y, frame, 0.0016, start, d, gate=6.0, wrong=0.01) == pytest.approx(expected, rel=1e-3)


@given(random_tracks(), st.integers(2, 5))
@settings(max_examples=20)
def test_only_the_time_between_spots_counts(track: dict[str, Any], factor: int) -> None:
    slow_camera = loglik(**track, dt=0.1, exposure=0.01)
    spread = loglik(**{**track, "frame": track["frame"] * factor}, dt=0.1 / factor, exposure=0.01)
    assert spread == pytest.approx(slow_camera, rel=1e-12)


@given(st.integers(1, 40), st.floats(0.1, 30), st.floats(0, 1), st.floats(0, 0.3), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_likelihood_equals_the_sine_transform_of_a_gapless_track(n: int, d: float, shutter: float, sigma: float, seed: int) -> None:
    dt = 1 / 30
    steps = np.random.default_rng(seed).normal(scale=math.sqrt(2 * d * dt), size=(n, 2))
    eigenvalues = naive.dst_eigenvalues(n, d, dt, shutter * dt, sigma)
    power = np.sum(dst(steps, type=1, axis=0, norm="ortho") ** 2, axis=1)
    expected = -float(np.sum(np.log(eigenvalues) + power / (2 * eigenvalues))) - n * math.log(2 * math.pi)
    at = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    x, y, frame, start = whole_tracks(at[None])
    assert loglik(x, y, frame, sigma**2, start, np.array([d]), dt, shutter * dt)[0, 0] == pytest.approx(expected, rel=1e-9)


def test_the_two_forms_of_the_covariance_agree() -> None:
    cov = naive.step_covariance(range(12), np.full(12, 0.05**2), D_100NM, 0.04, 0.02225)
    assert np.linalg.eigvalsh(cov) == pytest.approx(np.sort(naive.dst_eigenvalues(11, D_100NM, 0.04, 0.02225, 0.05)), rel=1e-10)


def test_without_exposure_and_error_steps_are_independent_normals() -> None:
    rng = np.random.default_rng(1)
    steps, d, dt = rng.normal(size=(9, 2)), 3.0, 0.1
    x, y, frame, start = whole_tracks(np.cumsum(steps, axis=0)[None])
    v = 2 * d * dt
    by_hand = sum(-math.log(2 * math.pi * v) - (dx * dx + dy * dy) / (2 * v) for dx, dy in steps[1:])
    assert loglik(x, y, frame, 0.0, start, np.array([d]), dt, 0.0)[0, 0] == pytest.approx(by_hand, rel=1e-12)


def test_one_spot_says_nothing_and_two_are_a_normal() -> None:
    x, y = np.array([1.0, 1.0, 1.3]), np.array([2.0, 2.0, 1.6])
    got = loglik(x, y, np.array([0, 0, 1]), 0.01, np.array([0, 1, 3]), np.array([2.0]), 0.1, 0.06)[:, 0]
    v = 2 * 2.0 * 0.1 - 2 * 2.0 * 0.06 / 3 + 0.02  # 0.34
    assert got[0] == 0.0
    assert got[1] == pytest.approx(-math.log(2 * math.pi * v) - 0.25 / (2 * v), rel=1e-12)


def test_no_motion_leaves_only_the_localisation_error() -> None:
    x, y = np.array([0.0, 0.1]), np.array([0.0, 0.0])
    got = loglik(x, y, np.arange(2), 0.01, np.array([0, 2]), np.array([0.0]), 0.1, 0.05)[0, 0]
    assert got == pytest.approx(-math.log(2 * math.pi * 0.02) - 0.01 / 0.04, rel=1e-12)


@pytest.mark.parametrize("wrong", [0.0, 0.2])
@pytest.mark.parametrize("gate", [0.2, 0.6, 1.5, 10.0])
def test_steps_within_the_gate_have_probability_one(gate: float, wrong: float) -> None:
    radius = (np.arange(2000) + 0.5) * gate / 2000
    x = np.column_stack([np.zeros_like(radius), radius]).ravel()
    ln = loglik(x, np.zeros_like(x), np.tile([0, 1], 2000), 0.002, np.arange(2001) * 2, np.array([0.5, 5.0]), 0.04, 0.01, gate, wrong)
    ring = 2 * math.pi * radius * gate / 2000
    assert ring @ np.exp(ln) == pytest.approx([1.0, 1.0], rel=1e-4)


def test_a_wide_gate_is_no_gate() -> None:
    x, y, frame, start = whole_tracks(naive.brownian_um(np.random.default_rng(0), 20, 10, D_100NM, 1 / 30, 0.015, 0.04))
    d = np.array([1.0, 5.0, 20.0])
    assert np.array_equal(loglik(x, y, frame, 0.0016, start, d, gate=100.0), loglik(x, y, frame, 0.0016, start, d, gate=math.inf))


def test_tracks_do_not_touch_each_other() -> None:
    x, y, frame, start = whole_tracks(naive.brownian_um(np.random.default_rng(2), 5, 7, D_100NM, 1 / 30, 0.015, 0.04))
    together = loglik(x, y, frame, 0.0016, start, np.array([D_100NM]))
    alone = [loglik(x[a:b], y[a:b], frame[a:b], 0.0016, np.array([0, 7]), np.array([D_100NM]))[0, 0] for a, b in pairwise(start)]
    assert np.array_equal(together[:, 0], alone)


def test_summed_likelihood_peaks_at_the_true_diffusion_coefficient() -> None:
    # 100 nm, 25 C, 30 fps, 15 ms, 40 nm: 15-frame tracks of the exact process, true parameters
    n_tracks, n_frames = 8000, 15
    at = naive.brownian_um(np.random.default_rng(3), n_tracks, n_frames, D_100NM, 1 / 30, 0.015, 0.04)
    x, y, frame, start = whole_tracks(at)
    factor = np.linspace(0.96, 1.04, 9)
    total = loglik(x, y, frame, 0.04**2, start, D_100NM * factor).sum(axis=0)
    bend, slope, _ = np.polyfit(factor - 1, total, 2)
    eigenvalues = naive.dst_eigenvalues(n_frames - 1, D_100NM, 1 / 30, 0.015, 0.04)
    standard_error = 1 / math.sqrt(n_tracks * _information(eigenvalues, n_frames - 1, D_100NM, 1 / 30, 0.015, 0.04)) / D_100NM
    assert 0.002 < standard_error < 0.004
    peak = -slope / (2 * bend)
    assert abs(peak) < 0.01
    assert abs(peak) < 3 * standard_error
    # and is as sharp as it should be
    assert 1 / math.sqrt(-2 * bend) == pytest.approx(standard_error, rel=0.05)


@pytest.mark.parametrize(("sigma", "assumed_exposure", "assumed_sigma"), [(0.04, 0.0, 0.04), (0.15, 0.015, 0.0), (0.15, 0.015, 0.3)])
def test_wrong_parameters_shift_the_peak_as_theory_says(sigma: float, assumed_exposure: float, assumed_sigma: float) -> None:
    x, y, frame, start = whole_tracks(naive.brownian_um(np.random.default_rng(4), 4000, 15, D_100NM, 1 / 30, 0.015, sigma))
    factor = np.linspace(0.5, 1.5, 101)
    # the mean likelihood, -sum_k [ln m_k + true_k / m_k]: one sine transform diagonalises truth and model
    true = naive.dst_eigenvalues(14, D_100NM, 1 / 30, 0.015, sigma)
    model = np.array([naive.dst_eigenvalues(14, f * D_100NM, 1 / 30, assumed_exposure, assumed_sigma) for f in factor])
    expected = factor[np.argmax(-np.sum(np.log(model) + true / model, axis=1))]
    total = loglik(x, y, frame, assumed_sigma**2, start, D_100NM * factor, exposure=assumed_exposure).sum(axis=0)
    assert factor[total.argmax()] == pytest.approx(expected, abs=0.021)
    assert abs(expected - 1) > 0.04


def _information(eigenvalues: np.ndarray, n: int, d: float, dt: float, exposure: float, sigma: float) -> float:
    """Return the Fisher information on D of n displacements along two axes, error known."""
    slope = (naive.dst_eigenvalues(n, 1.001 * d, dt, exposure, sigma) - naive.dst_eigenvalues(n, 0.999 * d, dt, exposure, sigma)) / (
        0.002 * d
    )
    return float(np.sum((slope / eigenvalues) ** 2))


CRLB = [(10, 0.322, 0.526), (20, 0.228, 0.367), (50, 0.144, 0.230), (100, 0.102, 0.162)]


@pytest.mark.parametrize(("n", "known", "unknown"), CRLB)
def test_cramer_rao_bounds_of_the_reference_case(n: int, known: float, unknown: float) -> None:
    # METHODS 6: 100 nm, 25 C, dt 40 ms, exposure 22.25 ms, error 50 nm, two axes; sd(D) / D
    case = (0.04, 0.02225, 0.05)
    eigenvalues = naive.dst_eigenvalues(n, D_100NM, *case)
    assert 1 / math.sqrt(_information(eigenvalues, n, D_100NM, *case)) / D_100NM == pytest.approx(known, abs=0.0006)
    by_d = (naive.dst_eigenvalues(n, 1.001 * D_100NM, *case) - eigenvalues) / 0.001 / eigenvalues
    by_s = (naive.dst_eigenvalues(n, D_100NM, 0.04, 0.02225, 0.05 * 1.001) - eigenvalues) / 0.001 / eigenvalues
    matrix = np.array([[by_d @ by_d, by_d @ by_s], [by_d @ by_s, by_s @ by_s]])
    assert math.sqrt(np.linalg.inv(matrix)[0, 0]) == pytest.approx(unknown, abs=0.002)


@pytest.mark.parametrize(("n", "known"), [(n, known) for n, known, _ in CRLB[:3]])
def test_curvature_of_the_kernel_is_the_cramer_rao_information(n: int, known: float) -> None:
    at = naive.brownian_um(np.random.default_rng(7), 30000 // n, n + 1, D_100NM, 0.04, 0.02225, 0.05)
    x, y, frame, start = whole_tracks(at)
    h = 0.02
    before, here, after = loglik(x, y, frame, 0.05**2, start, D_100NM * np.array([1 - h, 1, 1 + h]), 0.04, 0.02225).mean(axis=0)
    assert 1 / math.sqrt(-(before - 2 * here + after) / h**2) == pytest.approx(known, rel=0.03)


def draw(image: np.ndarray, *spots: tuple[float, float, float, float]) -> np.ndarray:
    x, y, sigma, peak = (np.array(column, float) for column in zip(*spots, strict=True))
    add_gaussians(image, x, y, sigma, peak)
    return image


def test_a_spot_on_a_pixel_has_its_peak_there() -> None:
    image = draw(np.zeros((21, 31)), (15.0, 10.0, 1.5, 40.0))
    assert image[10, 15] == 40.0
    assert image[10, 17] == pytest.approx(40 * math.exp(-4 / 4.5), rel=1e-14)
    assert image[12, 17] == pytest.approx(40 * math.exp(-8 / 4.5), rel=1e-14)
    # a Gaussian's volume, less what lies beyond 4.5 sigma (1.4e-5)
    assert image.sum() == pytest.approx(2 * math.pi * 1.5**2 * 40, rel=3e-5)


@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(3, 17), st.integers(3, 17))
@settings(max_examples=30)
def test_renderer_equals_its_twin_within_and_beyond_the_border(seed: int, n: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    spots = (rng.uniform(-8, 25, n), rng.uniform(-8, 25, n), rng.uniform(0.4, 4, n), rng.uniform(-50, 200, n))
    image = rng.normal(size=(height, width))
    slow = naive.add_gaussians(image, *spots)
    add_gaussians(image, *spots)
    assert image == pytest.approx(slow, rel=1e-12, abs=1e-12)


def test_a_spot_far_outside_changes_nothing() -> None:
    image = draw(np.ones((8, 8)), (-100.0, 3.0, 2.0, 50.0), (3.0, 1e6, 2.0, 50.0))
    assert np.array_equal(image, np.ones((8, 8)))


# --- camera ---


def electrons_of(light: np.ndarray, electrons_per_grey: float = 1.0, key: int = 1) -> np.ndarray:
    out = np.empty(light.shape)
    count_electrons(light, electrons_per_grey, np.uint64(key), *poisson_tables(), out)
    return out


def grey_of(
    electrons: np.ndarray, noise: float, key: int = 1, *, gain: float = 1.0, offset: float = 0.0, ceiling: float = 65535
) -> np.ndarray:
    out = np.empty(electrons.shape, np.uint16)
    read_out(electrons, gain, noise, np.full(electrons.shape, offset), ceiling, np.uint64(key), normal_strips(), out)
    return out


def test_random_bits_are_those_published_for_splitmix64() -> None:
    # the sequence from the seed 1234567 that implementations are checked by
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    step = 0x9E3779B97F4A7C15
    counters = [(1234567 + (i + 1) * step) % 2**64 for i in range(5)]
    assert [int(bits(np.uint64(c))) for c in counters] == expected
    assert [naive.splitmix64(c) for c in counters] == expected


def test_uniform_numbers_are_never_0_or_1() -> None:
    counters = np.random.default_rng(0).integers(0, 2**64, 20000, dtype=np.uint64)
    drawn = np.array([uniform(c) for c in counters])
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3
    assert uniform(np.uint64(0)) == 0.5**53  # all bits 0


@given(st.integers(0, 2**64 - 1), st.sampled_from([0.05, 0.5, 6.0, 90.0]), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_electron_counter_equals_its_twin(key: int, gain: float, seed: int) -> None:
    light = np.random.default_rng(seed).choice([0.0, 0.3, 2.0, 12.0, 31.999, 32.0, 200.0, 3000.0], (3, 5))
    assert np.array_equal(electrons_of(light, gain, key), naive.count_electrons(light, gain, key, TABLE_END))


@given(st.integers(0, 2**64 - 1), st.floats(0.3, 20), st.floats(0.2, 8), st.floats(0, 50))
@settings(max_examples=25)
def test_read_out_equals_its_twin(key: int, noise: float, gain: float, offset: float) -> None:
    electrons = np.random.default_rng(0).integers(0, 400, (20, 30)).astype(float)
    twin = naive.read_out(electrons, gain, noise, np.full(electrons.shape, offset), 255, key)
    ours = grey_of(electrons, noise, key, gain=gain, offset=offset, ceiling=255)
    assert np.count_nonzero(ours != twin) <= 1  # a half that one rounds up and the other down
    assert np.abs(ours - twin).max() <= 1


@pytest.mark.parametrize("mean", [0.03, 0.7, 6.49, 15.99, 16.0, 72.3, 1023.9, 1024.1, 40000.0])
def test_electrons_are_poisson(mean: float) -> None:
    n = 400_000
    counts = electrons_of(np.full((400, 1000), mean), key=12).astype(int)
    seen = np.bincount(counts.ravel())
    expected = stats.poisson.pmf(np.arange(len(seen)), mean) * n
    common = expected > 15
    chi2 = np.sum((seen[common] - expected[common]) ** 2 / expected[common])
    assert stats.chi2.cdf(chi2, common.sum() - 1) == pytest.approx(0.5, abs=0.4995)
    assert counts.mean() == pytest.approx(mean, abs=4 * math.sqrt(mean / n))
    assert counts.var() == pytest.approx(mean, abs=4 * math.sqrt((2 * mean**2 + mean) / n))


def test_no_light_makes_no_electrons() -> None:
    assert electrons_of(np.zeros((40, 50))).max() == 0


def test_neighbours_are_independent() -> None:
    counts = electrons_of(np.full((300, 1000), 40.0)) - 40.0
    noise = grey_of(np.full((300, 1000), 300.0), 20.0) - 300.0
    for field in (counts, noise):
        assert abs(np.mean(field[:, 1:] * field[:, :-1])) < 4 * field.var() / math.sqrt(field.size)
        assert abs(np.mean(field[1:] * field[:-1])) < 4 * field.var() / math.sqrt(field.size)
    assert abs(np.mean(counts * noise)) < 4 * counts.std() * noise.std() / math.sqrt(counts.size)


def test_read_noise_is_normal_to_its_tails() -> None:
    z = (grey_of(np.full((1000, 1000), 30000.0), 1000.0, key=3).astype(float) - 30000) / 1000
    edges = np.linspace(-3.9995, 4.0005, 161)  # between grey levels
    seen, expected = np.histogram(z, edges)[0], np.diff(stats.norm.cdf(edges)) * z.size
    assert stats.chi2.cdf(np.sum((seen - expected) ** 2 / expected), 160) == pytest.approx(0.5, abs=0.4995)
    for beyond in (3.4426, 4.2):  # the ziggurat's tail begins at the first
        expected = 2 * stats.norm.sf(beyond) * z.size
        assert np.count_nonzero(np.abs(z) > beyond) == pytest.approx(expected, abs=4 * math.sqrt(expected))


def test_grey_levels_are_rounded_and_cut() -> None:
    electrons = np.array([[0.0, 3.0, 5.0, 900.0]])
    assert grey_of(electrons, 0.0, gain=2.0, ceiling=255).tolist() == [[0, 2, 3, 255]]  # halves go up
    assert grey_of(electrons, 0.0, offset=-4.0, ceiling=100).tolist() == [[0, 0, 1, 100]]
