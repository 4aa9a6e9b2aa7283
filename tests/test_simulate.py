from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nta import simulate
from nta.errors import UsageError
from nta.settings import Settings
from nta.simulate import Population, Recipe, Simulation, make_recipe, peak_grey, read_recipe, sample_distribution
from nta.video import open_video

ONE = [{"diameter_nm": 100.0}]
QUIET: dict[str, Any] = {
    "width_px": 64, "height_px": 48, "n_frames": 5, "drift_um_s": (0, 0),
    "hot_pixels": 0, "stuck_particles": 0, "background_variation": 0.0,
}  # fmt: skip


class Watched(Simulation):
    """A simulation that remembers where the particles were, instead of drawing them."""

    def watch(self) -> np.ndarray:
        """Return the mean position in each exposure, (n_frames, n_particles, 3) um, unwrapped and relative to the first frame."""
        self.seen: list[np.ndarray] = []
        for _ in self.frames():
            pass
        recipe = self.recipe
        path = np.array(self.seen)
        sides = self._reservoir_um(
            np.array([recipe.width_px * recipe.pixel_size_um, recipe.height_px * recipe.pixel_size_um, recipe.box_depth_um()])
        )
        steps = np.diff(path, axis=0)
        unwrapped = path[0] + np.concatenate([np.zeros_like(path[:1]), np.cumsum(steps - sides * np.rint(steps / sides), axis=0)])
        return unwrapped.reshape(recipe.n_frames, -1, *path.shape[1:]).mean(axis=1)

    def _draw(
        self, add_gaussians: Callable[..., None], image: np.ndarray, position: np.ndarray, brightness: np.ndarray, share: int
    ) -> None:
        self.seen.append(position.copy())


def watched(**changes: Any) -> np.ndarray:
    return Watched(make_recipe(**{"populations": ONE, **QUIET, **changes}), seed=11).watch()


@pytest.mark.parametrize("exposure_ms", [0.0, 15.0, 40.0])
def test_steps_of_the_exposure_means_have_the_variance_and_covariance_of_theory(exposure_ms: float) -> None:
    path = watched(exposure_ms=exposure_ms, n_frames=60, in_view=25.0)
    steps = np.diff(path, axis=0)  # (59, n, 3)
    d, dt, te = 4.907, 0.04, exposure_ms * 1e-3
    n = steps.size
    assert n > 20000
    variance = 2 * d * dt - 2 * d * te / 3
    assert steps.var() == pytest.approx(variance, rel=4 * math.sqrt(2 / n) * 1.2)
    covariance = float(np.mean(steps[1:] * steps[:-1]))
    # two neighbours' blur; 8 sub-steps leave 1/128 of it out
    assert covariance == pytest.approx(d * te / 3, abs=4 * variance / math.sqrt(n) + 0.02 * d * te / 3)
    assert float(np.mean(steps[2:] * steps[:-2])) == pytest.approx(0, abs=4 * variance / math.sqrt(n))
    # the three axes alike
    assert steps.var(axis=(0, 1)) == pytest.approx(np.full(3, variance), rel=4 * math.sqrt(6 / n) * 1.2)


def test_mean_squared_displacement_grows_in_proportion_to_time() -> None:
    path = watched(exposure_ms=0.0, n_frames=40, in_view=40.0)
    for lag in (1, 5, 20):
        msd = float(np.mean((path[lag:] - path[:-lag]) ** 2))
        independent = path.shape[1] * 3 * (40 - lag) / lag
        assert msd == pytest.approx(2 * 4.907 * 0.04 * lag, rel=4 * math.sqrt(2 / independent))


def test_drift_carries_everything_along() -> None:
    path = watched(drift_um_s=(6.0, -3.0), n_frames=50, in_view=20.0)
    speed = (path[-1] - path[0]) / (49 * 0.04)
    standard_error = speed.std(axis=0) / math.sqrt(len(speed))
    assert np.all(np.abs(speed.mean(axis=0) - (6.0, -3.0, 0.0)) < 4 * standard_error)
    assert np.all(standard_error < 0.3)


def test_the_reservoir_stays_uniformly_full() -> None:
    recipe = make_recipe(populations=ONE, **{**QUIET, "n_frames": 25, "in_view": 30.0, "drift_um_s": (20, 0)})
    inside = []

    class Counting(Simulation):
        def _draw(self, add_gaussians: Any, image: Any, position: np.ndarray, brightness: Any, share: int) -> None:
            x, y, z = np.abs(position / recipe.pixel_size_um).T
            field = (x < recipe.width_px / 2) & (y < recipe.height_px / 2)
            in_sheet, above = z < 4 / recipe.pixel_size_um, (z > 8 / recipe.pixel_size_um) & (z < 12 / recipe.pixel_size_um)
            inside.append([np.count_nonzero(field & in_sheet), np.count_nonzero(field & above)])

    counts = []
    for seed in range(16):
        simulation = Counting(recipe, seed)
        inside.clear()
        for _ in simulation.frames():
            pass
        counts.append(np.mean(inside, axis=0))
    mean, error = np.mean(counts, axis=0), np.std(counts, axis=0) / math.sqrt(16)
    # 30 particles in the sheet's 8 um, and as many in any other 8 um
    assert np.all(np.abs(mean - 30.0) < 4 * error)
    assert np.all(error < 1.5)


def test_photon_and_read_noise_have_the_variance_of_theory() -> None:
    frames, _ = simulate.simulate(
        make_recipe(populations=ONE, **{**QUIET, "in_view": 1e-9, "n_frames": 40, "background_grey": 100.0}), seed=0
    )
    # 0.5 electrons per grey level: Poisson variance 100 / 0.5, read noise 1.5^2, rounding 1/12
    expected = 100 / 0.5 + 1.5**2 + 1 / 12
    assert frames.mean() == pytest.approx(100, abs=4 * math.sqrt(expected / frames.size))
    assert frames.var() == pytest.approx(expected, rel=4 * math.sqrt(2 / frames.size))


@pytest.mark.parametrize("gain", [0.25, 4.0])
def test_variance_over_mean_is_the_gain(gain: float) -> None:
    variance = []
    for level in (50.0, 150.0):
        recipe = make_recipe(
            populations=ONE, **{**QUIET, "in_view": 1e-9, "n_frames": 30, "background_grey": level, "electrons_per_grey": gain, "bits": 12}
        )
        variance.append(simulate.simulate(recipe, seed=1)[0].astype(float).var())
    assert (variance[1] - variance[0]) / 100.0 == pytest.approx(1 / gain, rel=0.03)


def test_brightness_is_a_power_of_the_diameter_softly_capped() -> None:
    recipe = make_recipe(populations=ONE)
    small = peak_grey(recipe, np.array([20.0, 40.0]))
    assert small[1] / small[0] == pytest.approx(2**6, rel=1e-3)
    assert small[1] == pytest.approx(40 * 0.4**6, rel=1e-3)
    assert peak_grey(recipe, np.array([100.0]))[0] == pytest.approx(255 * (1 - math.exp(-40 / 255)), rel=1e-12)
    assert peak_grey(recipe, np.array([5000.0]))[0] == pytest.approx(255, rel=1e-9)
    cubic = replace(recipe, brightness_exponent=3.0, peak_cap_grey=1e9)
    assert peak_grey(cubic, np.array([50.0, 100.0, 200.0])) == pytest.approx([5.0, 40.0, 320.0], rel=1e-5)


def test_defocus_spreads_the_light_and_the_sheet_dims_it() -> None:
    recipe = make_recipe(populations=ONE, **{**QUIET, "width_px": 128, "height_px": 128})
    from nta.kernels.render import add_gaussians

    def light(z: float) -> tuple[float, float]:
        image = np.zeros((128, 128))
        Simulation(recipe, 0)._draw(add_gaussians, image, np.array([[0.0, 0.0, z]]), np.array([40.0]), 1)
        x = np.arange(128) - 63.5  # the field's centre lies between pixels
        total = image.sum()
        return float(total), float(np.sum(image * x**2) / total)

    in_focus, wide = light(0.0), light(4.0)
    assert in_focus[1] == pytest.approx(1.4**2, rel=0.01)
    assert wide[1] == pytest.approx(1.4**2 * (1 + (4 / 6) ** 2), rel=0.01)
    # 4 um is one standard deviation of an 8 um sheet
    assert wide[0] / in_focus[0] == pytest.approx(math.exp(-0.5), rel=1e-3)


def test_seed_decides_everything() -> None:
    recipe = make_recipe(populations=ONE, **{**QUIET, "hot_pixels": 3, "stuck_particles": 1})
    first, again, other = (simulate.simulate(recipe, seed=s)[0] for s in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(simulate.simulate(replace(recipe, seed=5))[0], first)


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_frames_have_the_recipes_shape_and_depth(bits: int, dtype: type) -> None:
    frames, _ = simulate.simulate(
        make_recipe(populations=ONE, **{**QUIET, "bits": bits, "background_grey": 2.0**bits, "peak_cap_grey": 1e6})
    )
    assert frames.shape == (5, 48, 64)
    assert frames.dtype == dtype
    assert frames.max() == 2**bits - 1


def test_hot_pixels_and_stuck_particles_stay_where_they_are() -> None:
    dark = {**QUIET, "in_view": 1e-9, "n_frames": 20, "background_grey": 10.0, "read_noise_grey": 0.5, "electrons_per_grey": 50.0}
    assert np.ptp(simulate.simulate(make_recipe(populations=ONE, **dark))[0].mean(axis=0)) < 3
    hot = simulate.simulate(make_recipe(populations=ONE, **{**dark, "hot_pixels": 7}))[0].mean(axis=0)
    assert 5 <= np.count_nonzero(hot > 30) <= 7  # two may fall on one pixel, or into the dark
    stuck = simulate.simulate(make_recipe(populations=ONE, **{**dark, "stuck_particles": 1}))[0].mean(axis=0)
    assert 8 < np.count_nonzero(stuck > 20) < 60


def test_uneven_background_varies_by_the_share_asked_for() -> None:
    recipe = make_recipe(
        populations=ONE, **{**QUIET, "in_view": 1e-9, "n_frames": 60, "background_grey": 100.0, "background_variation": 0.3}
    )
    mean = simulate.simulate(recipe)[0].mean(axis=0)
    smooth = mean.reshape(6, 8, 8, 8).mean(axis=(1, 3))
    assert 20 < np.ptp(smooth) < 32
    assert smooth.mean() == pytest.approx(100, abs=1)


def test_sample_truth_is_the_recipe() -> None:
    recipe = Recipe((Population(80.0, 1.0, 7.0), Population(200.0, 1.5, 3.0)))
    diameter, weight = sample_distribution(recipe)
    assert weight.sum() == pytest.approx(1, rel=1e-12)
    assert weight[diameter == 80].sum() == pytest.approx(0.7, rel=1e-12)
    larger = np.log(diameter[diameter != 80] / 200)
    assert np.median(larger) == pytest.approx(0, abs=1e-9)
    assert larger.std() == pytest.approx(math.log(1.5), rel=0.005)
    assert np.quantile(larger, 0.9) == pytest.approx(1.2816 * math.log(1.5), rel=0.002)


def test_drawn_diameters_follow_the_sample_truth() -> None:
    recipe = Recipe((Population(80.0, 1.1, 0.7), Population(200.0, 1.2, 0.3)))
    drawn = np.sort(simulate.draw_diameters(recipe, np.random.default_rng(0), 20000))
    diameter, weight = sample_distribution(recipe)
    order = np.argsort(diameter)
    truth = np.interp(drawn, diameter[order], np.cumsum(weight[order]))
    # Kolmogorov-Smirnov at 0.1 %: 1.95 / sqrt(n)
    assert np.abs(truth - (np.arange(20000) + 0.5) / 20000).max() < 1.95 / math.sqrt(20000)


def test_truth_counts_who_is_in_the_box() -> None:
    recipe = make_recipe(
        populations=[{"diameter_nm": 80, "fraction": 0.7}, {"diameter_nm": 300, "fraction": 0.3}], **{**QUIET, "in_view": 30.0}
    )
    present = []
    for seed in range(30):
        simulation = Simulation(recipe, seed)
        for _ in simulation.frames():
            pass
        truth = simulation.truth()
        assert truth["present"]["particles"] == len(simulation.present_nm) == len(simulation.present_frames)
        assert simulation.present_frames.min() >= 1
        assert simulation.present_frames.max() <= recipe.n_frames
        present.append(truth["present"]["mean_in_view"])
    assert np.mean(present) == pytest.approx(30.0, abs=4 * math.sqrt(30 / 30))
    assert truth["sample"]["fraction_30_100"] == pytest.approx(0.7)
    assert truth["sample"]["fraction_100_1000"] == pytest.approx(0.3)
    assert truth["sample"]["d10_nm"] == truth["sample"]["d50_nm"] == 80
    assert truth["sample"]["d90_nm"] == 300
    assert truth["sample"]["mean_nm"] == pytest.approx(0.7 * 80 + 0.3 * 300)
    assert truth["sample"]["sd_nm"] == pytest.approx(math.sqrt(0.21) * 220)


def test_a_deeper_truth_box_holds_more() -> None:
    shallow, deep = (make_recipe(populations=ONE, **{**QUIET, "in_view": v, "truth_depth_um": t}) for v, t in ((30.0, 8.0), (120.0, 32.0)))
    counts = [[len(Simulation(r, s).present_nm) for s in range(1)] for r in (shallow, deep)]
    assert counts == [[0], [0]]  # nobody counted before the frames are made
    seen = []
    for recipe in (shallow, deep):
        simulation = Simulation(recipe, 0)
        list(simulation.frames())
        seen.append(simulation.present_frames.sum() / recipe.n_frames)
    assert seen[0] == pytest.approx(30, abs=20)
    assert seen[1] == pytest.approx(120, abs=40)


def test_truth_of_nobody_is_empty_not_an_error() -> None:
    simulation = Simulation(make_recipe(populations=ONE, **{**QUIET, "in_view": 1e-9}), 0)
    list(simulation.frames())
    truth = simulation.truth()["present"]
    assert truth["particles"] == 0
    assert truth["mean_in_view"] == 0
    assert truth["d50_nm"] is None


def test_written_video_reads_back_with_its_calibration_and_truths(tmp_path: Path) -> None:
    recipe = make_recipe(
        populations=ONE,
        **{**QUIET, "pixel_size_um": 0.21, "fps": 37.5, "exposure_ms": 12.5, "temperature_c": 31.5, "name": "r", "in_view": 9},
    )
    calls: list[tuple[str, int, int]] = []
    paths = simulate.write_video(recipe, 3, tmp_path / "new" / "v.tif", lambda *call: calls.append(call))
    assert [p.name for p in paths] == ["v.tif", "v_truth.json", "v_truth.csv"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(p.name for p in paths)
    assert calls == [("simulate", i, 5) for i in range(1, 6)]
    frames, simulation = simulate.simulate(recipe, 3)
    with open_video(paths[0], Settings()) as video:
        calibration = video.calibration
        assert (video.n_frames, video.height, video.width, video.dtype) == (5, 48, 64, "uint8")
        assert np.array_equal([video.read(i) for i in range(5)], frames)
    assert calibration.exposure_s is not None
    values = {
        "pixel": (calibration.pixel_size_um, 0.21),
        "fps": (calibration.fps, 37.5),
        "exposure": (calibration.exposure_s, 0.0125),
        "temperature": (calibration.temperature_c, 31.5),
    }
    for used, expected in values.values():
        assert used.value == pytest.approx(expected, rel=1e-5)
        assert used.source == "file"
    truth = json.loads(paths[1].read_text())
    assert truth["seed"] == 3
    assert truth["recipe"]["pixel_size_um"] == 0.21
    assert truth["sample"]["d50_nm"] == 100
    rows = paths[2].read_text().splitlines()
    assert rows[0] == "diameter_nm,frames_present"
    assert len(rows) == 1 + truth["present"]["particles"] == 1 + len(simulation.present_nm)
    assert sum(int(row.split(",")[1]) for row in rows[1:]) == simulation.present_frames.sum()


def test_a_stopped_simulation_leaves_nothing(tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate.write_video(make_recipe(populations=ONE, **QUIET), 0, tmp_path / "v.tif", stop)
    assert list(tmp_path.iterdir()) == []


def test_recipe_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "ev 1.toml"
    path.write_text("n_frames = 7\ndrift_um_s = [1, -2]\n[[populations]]\ndiameter_nm = 95\ngsd = 1.45\n")
    recipe = read_recipe(path)
    assert recipe == Recipe((Population(95, 1.45),), name="ev 1", n_frames=7, drift_um_s=(1.0, -2.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_frame": 9}, r"unknown key 'n_frame'; did you mean 'n_frames'\?"),
        ({"fps": 0}, r"fps = 0 must be above 0"),
        ({"fps": "25"}, r"fps = '25' is not a number"),
        ({"fps": math.nan}, r"fps = nan is not a number"),
        ({"pixel_size_um": -0.1}, r"pixel_size_um = -0.1 must be above 0"),
        ({"in_view": 0}, r"in_view = 0 must be above 0"),
        ({"n_frames": 1}, r"n_frames = 1 must be a whole number of at least 2"),
        ({"n_frames": 9.5}, r"n_frames = 9.5 must be a whole number of at least 2"),
        ({"width_px": 31}, r"width_px = 31 must be a whole number of at least 32"),
        ({"read_noise_grey": -1}, r"read_noise_grey = -1 must not be negative"),
        ({"hot_pixels": True}, r"hot_pixels = True is not a number"),
        ({"bits": 10}, r"bits = 10 is not one of 8, 12, 16"),
        ({"exposure_ms": 41}, r"exposure_ms = 41 is longer than a frame at fps = 25"),
        ({"drift_um_s": [1]}, r"drift_um_s = \[1\] is not two numbers"),
        ({"drift_um_s": 1.0}, r"drift_um_s = 1.0 is not two numbers"),
        ({"populations": []}, r"at least one \[\[populations\]\] table"),
        ({"populations": [{}]}, r"each \[\[populations\]\] table needs diameter_nm"),
        ({"populations": [{"diameter_nm": 100, "gds": 1.2}]}, r"unknown key 'gds' in \[\[populations\]\]; did you mean 'gsd'\?"),
        ({"populations": [{"diameter_nm": -100}]}, r"populations: diameter_nm = -100 must be a number above 0"),
        ({"populations": [{"diameter_nm": 100, "gsd": 0.9}]}, r"populations: gsd = 0.9 must be at least 1"),
        ({"populations": [{"diameter_nm": 100, "fraction": 0}]}, r"populations: fraction = 0 must be a number above 0"),
    ],
)
def test_a_wrong_recipe_is_refused_by_key_and_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_recipe(**{"populations": ONE, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"n_frames": 6.0},
        {"width_px": 64.0, "height_px": 48.0},
        {"seed": 1.5},
        {"hot_pixels": 2.5},
        {"stuck_particles": 1.5},
        {"background_variation": 5.0},
        {"temperature_c": -300.0, "viscosity_mpas": 1.0},
        {"temperature_c": 500.0},
    ],
)
def test_a_recipe_that_is_accepted_can_be_filmed(change: dict[str, Any]) -> None:
    table = {"populations": ONE, **QUIET, **change}
    try:
        frames, _ = simulate.simulate(make_recipe(**table))
    except UsageError as error:  # as good, if it says what
        said = str(error)
    else:
        said = f"{next(iter(change))}: {len(frames)} frames"
        assert len(frames) == table["n_frames"]
    assert any(key.split("_")[0] in said for key in change)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"no such recipe: .*r\.toml"), ("fps = [", r"r\.toml is not a TOML recipe"), ("fps = 25", r"r\.toml: needs at least one")],
)
def test_a_recipe_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "r.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_recipe(path)
