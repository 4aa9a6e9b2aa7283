from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nta import simulate
from nta.errors import UsageError
from nta.motion import CLUMP_SIZE
from nta.recipe import Recipe
from nta.scene import make_scene
from nta.settings import Settings
from nta.simulate import Population, Simulation, make_recipe, sample_distribution
from nta.video import open_video

ONE = [{"diameter_nm": 100.0}]
QUIET: dict[str, Any] = {
    "width_px": 64, "height_px": 48, "n_frames": 5, "drift_um_s": (0, 0),
    "hot_pixels": 0, "stuck_particles": 0, "background_variation": 0.0,
}  # fmt: skip
EMPTY: dict[str, Any] = {**QUIET, "in_view": 1e-9}


def filmed(seed: int = 0, **changes: Any) -> np.ndarray:
    return simulate.simulate(make_recipe(**{"populations": ONE, **QUIET, **changes}), seed)[0]


# --- the picture against theory ---


def test_noise_over_an_uneven_field_is_that_of_its_light() -> None:
    frames = filmed(**{**EMPTY, "n_frames": 250, "background_grey": 80.0, "background_variation": 0.8, "bits": 12, "flicker": 0.0})
    recipe = make_recipe(populations=ONE, **{**EMPTY, "background_grey": 80.0, "background_variation": 0.8})
    light = make_scene(recipe, np.random.default_rng(0)).background
    assert light.min() < 60
    assert light.max() > 100
    order = np.argsort(light.ravel())
    for tile in np.array_split(order, 6):
        mean, at = light.ravel()[tile].mean(), frames.reshape(250, -1)[:, tile].astype(float)
        variance = mean / 0.5 + 1.5**2 + 1 / 12
        assert at.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / at.size))
        assert at.var(axis=0, ddof=1).mean() == pytest.approx(variance, rel=4 * math.sqrt(2.2 / at.size))


@pytest.mark.parametrize(("peak_cap", "background", "gain"), [(100.0, 12.0, 0.5), (1500.0, 60.0, 4.0)])
def test_spots_can_be_located_as_well_as_their_photons_allow(peak_cap: float, background: float, gain: float) -> None:
    recipe = make_recipe(
        populations=ONE,
        **{**EMPTY, "n_frames": 300, "stuck_particles": 1, "peak_cap_grey": peak_cap, "background_grey": background, "bits": 12},
        electrons_per_grey=gain,
    )
    simulation = next(s for s in (Simulation(recipe, n) for n in range(50)) if _spot_is_inside(s))
    x, y, peak = make_scene(recipe, simulation._random("scene")).stuck[0]
    rows, columns = np.mgrid[:48, :64]

    def model(x: float, y: float, height: float) -> tuple[np.ndarray, np.ndarray]:
        shape = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.4**2))
        slopes = np.stack([height * shape * (columns - x) / 1.4**2, height * shape * (rows - y) / 1.4**2, shape])
        return background + height * shape, slopes

    mean, slopes = model(x, y, peak)
    weight = 1 / (mean / gain + 1.5**2 + 1 / 12)
    bound = np.sqrt(np.diag(np.linalg.inv(np.einsum("aij,bij,ij->ab", slopes, slopes, weight))))
    found = []
    for frame in simulation.frames():
        at = np.array([x, y, peak])
        for _ in range(4):  # Fisher scoring
            now, slopes = model(*at)
            weight = 1 / (now / gain + 1.5**2 + 1 / 12)
            information = np.einsum("aij,bij,ij->ab", slopes, slopes, weight)
            at = at + np.linalg.solve(information, np.einsum("aij,ij->a", slopes, (frame - now) * weight))
        found.append(at - (x, y, peak))
    n = len(found)
    assert np.std(found, axis=0) / bound == pytest.approx(np.ones(3), abs=4 / math.sqrt(2 * n))
    assert np.all(np.abs(np.mean(found, axis=0)) < 4 * bound / math.sqrt(n))
    assert bound[0] < 0.2


def _spot_is_inside(simulation: Simulation) -> bool:
    x, y, _ = make_scene(simulation.recipe, simulation._random("scene")).stuck[0]
    return 10 < x < 54 and 10 < y < 38


def test_spots_are_where_the_positions_say() -> None:
    recipe = make_recipe(
        populations=[{"diameter_nm": 150.0}],
        **{**QUIET, "width_px": 256, "height_px": 256, "n_frames": 4, "in_view": 6.0, "truth_depth_um": 4.0, "background_grey": 5.0}
        | {"drift_um_s": (20.0, 0.0)},
        vibration_um=(0.4, 0.2),
        electrons_per_grey=50.0,
        peak_at_100nm_grey=200.0,
        bits=12,
    )
    off = []
    for seed in range(12):
        simulation = Simulation(recipe, seed)
        for frame, truth in zip(simulation.frames(), simulation.positions(), strict=True):
            alone = np.hypot(truth.x_px[:, None] - truth.x_px, truth.y_px[:, None] - truth.y_px) + 1e3 * np.eye(len(truth.x_px))
            seen = truth.present & (alone[:, truth.peak_grey > 1].min(axis=1) > 30)
            for x, y in zip(truth.x_px[seen], truth.y_px[seen], strict=True):
                c, r = round(x), round(y)
                if 12 <= c < 244 and 12 <= r < 244:
                    patch = frame[r - 8 : r + 9, c - 8 : c + 9].astype(float) - 5.0
                    patch = np.where(patch > 0.1 * patch.max(), patch, 0)
                    w = np.arange(-8, 9)
                    off.append([(patch * w).sum() / patch.sum() + c - x, (patch.T * w).sum() / patch.sum() + r - y])
    assert len(off) > 30
    assert np.sqrt(np.mean(np.square(off), axis=0)) == pytest.approx([0, 0], abs=0.15)
    assert np.abs(np.mean(off, axis=0)).max() < 4 * 0.15 / math.sqrt(len(off))


@pytest.mark.parametrize(("hz", "exposure_ms"), [(7.0, 15.0), (60.0, 15.0), (93.0, 8.0)])
def test_vibration_shakes_the_picture_by_what_the_exposure_leaves_of_it(hz: float, exposure_ms: float) -> None:
    recipe = make_recipe(
        populations=ONE,
        **{**EMPTY, "n_frames": 60, "stuck_particles": 1, "background_grey": 0.0, "read_noise_grey": 0.0, "bits": 16},
        electrons_per_grey=1000.0,
        peak_cap_grey=1e4,
        vibration_um=(0.25, -0.1),
        vibration_hz=hz,
        exposure_ms=exposure_ms,
    )
    simulation = next(s for s in (Simulation(recipe, n) for n in range(50)) if _spot_is_inside(s))
    rows, columns = np.mgrid[:48, :64]
    frames = np.array(list(simulation.frames())).astype(float)
    total = frames.sum(axis=(1, 2))
    x, y = ((frames * axis).sum(axis=(1, 2)) / total for axis in (columns, rows))
    t = np.arange(60) / 25  # a frequency above 12.5 Hz is folded, which sampling it does by itself
    waves = np.column_stack([np.ones(60), np.cos(2 * math.pi * hz * t), np.sin(2 * math.pi * hz * t)])
    for trace, amplitude in ((x, 0.25), (y, 0.1)):
        found, residual, *_ = np.linalg.lstsq(waves, trace, rcond=None)
        left = abs(np.sinc(hz * exposure_ms * 1e-3))
        assert math.hypot(found[1], found[2]) == pytest.approx(amplitude / 0.166 * left, abs=0.01)
        assert math.sqrt(residual[0] / 57) < 0.02


def test_flicker_dims_everything_by_the_same_share() -> None:
    dark = {**EMPTY, "n_frames": 400, "background_grey": 100.0, "bits": 12, "stuck_particles": 2, "fringes_grey": 20.0, "dust": 1}
    frames = filmed(**dark, flicker=0.08).reshape(400, -1).astype(float)
    level = frames.mean(axis=1) / frames.mean()
    # the noise of 64 x 48 pixels adds 0.3 %
    assert level.std() == pytest.approx(0.08, rel=4 / math.sqrt(800))
    steady = filmed(**dark).mean()
    assert frames.mean() == pytest.approx(steady, abs=4 * 0.08 * steady / 20)
    # white from frame to frame
    assert abs(np.mean((level[1:] - 1) * (level[:-1] - 1))) < 4 * 0.08**2 / 20
    bright = frames[:, frames.mean(axis=0) > 120].mean(axis=1)
    assert bright.std() / bright.mean() == pytest.approx(0.08, rel=4 / math.sqrt(800))


def test_blinking_pixels_are_on_half_of_the_time() -> None:
    frames = filmed(
        **{**EMPTY, "n_frames": 400, "blinking_pixels": 60, "background_grey": 5.0, "read_noise_grey": 0.5, "electrons_per_grey": 9.0}
    )
    bright = frames.reshape(400, -1) > 18
    ever = bright[:, bright.any(axis=0)]
    assert ever.shape[1] == 60
    # on and off with a chance of 0.1: two frames alike with 0.9; correlated over 1 / (2 * 0.1) frames
    assert ever.mean() == pytest.approx(0.5, abs=4 * 0.5 * math.sqrt(9 / ever.size))
    assert np.mean(ever[1:] != ever[:-1]) == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / ever.size))


def test_hot_pixels_and_stuck_particles_stay_where_they_are() -> None:
    dark = {**EMPTY, "n_frames": 20, "background_grey": 10.0, "read_noise_grey": 0.5, "electrons_per_grey": 50.0}
    assert np.ptp(filmed(**dark).mean(axis=0)) < 3
    hot = filmed(**{**dark, "hot_pixels": 7}).mean(axis=0)
    assert np.count_nonzero(hot > 30) == 7
    stuck = filmed(**{**dark, "stuck_particles": 1}).mean(axis=0)
    assert 8 < np.count_nonzero(stuck > 20) < 60


def test_dark_particles_take_away_what_bright_ones_give() -> None:
    table = {
        "background_grey": 200.0,
        "peak_cap_grey": 150.0,
        "in_view": 12.0,
        "electrons_per_grey": 20.0,
        "stuck_particles": 1,
        "bits": 12,
    }
    bright, dark = filmed(**table).astype(float) - 200, filmed(**table, polarity="dark").astype(float) - 200
    sharp = bright - dark > 50
    assert np.count_nonzero(sharp) > 20
    assert (bright + dark)[sharp].mean() == pytest.approx(0, abs=1.0)
    assert filmed(**{**table, "background_grey": 20.0}, polarity="dark").min() == 0


# --- frames and time ---


def test_seed_decides_everything() -> None:
    recipe = make_recipe(populations=ONE, **{**QUIET, "hot_pixels": 3, "stuck_particles": 1})
    first, again, other = (simulate.simulate(recipe, seed=s)[0] for s in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(simulate.simulate(replace(recipe, seed=5))[0], first)


def test_how_it_is_filmed_does_not_change_where_particles_are() -> None:
    table = {**QUIET, "in_view": 20.0}
    plain = Simulation(make_recipe(populations=ONE, **table), 3)
    other = {**table, "flicker": 0.1, "hot_pixels": 9, "dust": 3, "read_noise_grey": 9, "bits": 16}
    noisy = Simulation(make_recipe(populations=ONE, **other), 3)
    for one, two in zip(plain.positions(), noisy.positions(), strict=True):
        assert np.array_equal(one.x_px, two.x_px)


def test_a_simulation_can_be_run_again() -> None:
    simulation = Simulation(make_recipe(populations=ONE, **{**QUIET, "in_view": 20.0}), 1)
    first = list(simulation.frames())
    truth = simulation.truth()
    assert np.array_equal(list(simulation.frames()), first)
    assert simulation.truth() == truth


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (10, np.uint16), (12, np.uint16), (16, np.uint16)])
def test_frames_have_the_recipes_shape_and_depth(bits: int, dtype: type) -> None:
    frames = filmed(bits=bits, background_grey=2.0**bits, peak_cap_grey=1e6)
    assert frames.shape == (5, 48, 64)
    assert frames.dtype == dtype
    assert frames.max() == 2**bits - 1


def test_dropped_frames_are_missing_and_time_goes_on() -> None:
    recipe = make_recipe(populations=ONE, **{**QUIET, "in_view": 15.0, "n_frames": 60})
    lossy = Simulation(replace(recipe, dropped_frames=0.3), 2)
    whole, some = list(Simulation(recipe, 2).positions()), list(lossy.positions())
    assert 8 < len(lossy.dropped) < 30
    assert lossy.n_frames == len(some) == 60 - len(lossy.dropped) == len(list(lossy.frames()))
    kept = [i for i in range(60) if i not in lossy.dropped]
    assert lossy.time_s == pytest.approx(np.array(kept) / 25)
    for i, shown in zip(kept, some, strict=True):
        assert shown.time_s == pytest.approx(i / 25)
        assert np.array_equal(shown.x_px, whole[i].x_px)
    assert lossy.truth()["dropped_frames"] == list(lossy.dropped)
    assert lossy.truth()["frames"] == len(some)


def test_duplicated_frames_show_the_one_before() -> None:
    simulation = Simulation(make_recipe(populations=ONE, **{**QUIET, "in_view": 15.0, "n_frames": 60}, duplicated_frames=0.2), 2)
    frames = np.array(list(simulation.frames()))
    same = [i for i in range(1, 60) if np.array_equal(frames[i], frames[i - 1])]
    assert same == list(simulation.duplicated) == simulation.truth()["duplicated_frames"]
    assert 3 < len(same) < 25
    positions = list(simulation.positions())
    assert [p.frame for p in positions] == list(range(60))
    for i in range(1, 60):
        assert (positions[i].time_s == positions[i - 1].time_s) == (i in same)


@pytest.mark.parametrize("lost", [{"dropped_frames": 0.9}, {"duplicated_frames": 0.9}])
def test_a_film_has_two_frames_at_least(lost: dict[str, float]) -> None:
    for seed in range(20):
        assert len(filmed(seed, **{**EMPTY, "n_frames": 3, **lost})) >= 2


def test_shares_of_lost_and_repeated_frames_are_those_asked_for() -> None:
    recipe = make_recipe(populations=ONE, **{**QUIET, "n_frames": 20000}, dropped_frames=0.05, duplicated_frames=0.02)
    simulation = Simulation(recipe, 0)
    assert len(simulation.dropped) == pytest.approx(1000, abs=4 * math.sqrt(950))
    assert len(simulation.duplicated) == pytest.approx(380, abs=4 * math.sqrt(372))


# --- truth ---


def test_sample_truth_is_the_recipe() -> None:
    recipe = Recipe((Population(80.0, 1.0, 7.0), Population(200.0, 1.5, 3.0)))
    diameter, weight = sample_distribution(recipe)
    assert weight.sum() == pytest.approx(1, rel=1e-12)
    assert weight[diameter == 80].sum() == pytest.approx(0.7, rel=1e-12)
    larger = np.log(diameter[diameter != 80] / 200)
    assert np.median(larger) == pytest.approx(0, abs=1e-9)
    assert larger.std() == pytest.approx(math.log(1.5), rel=0.005)
    assert np.quantile(larger, 0.9) == pytest.approx(1.2816 * math.log(1.5), rel=0.002)


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


def test_the_truth_agrees_with_the_positions() -> None:
    simulation = Simulation(make_recipe(populations=ONE, **{**QUIET, "in_view": 25.0}, clumps=0.4), 4)
    assert simulation.truth()["present"]["particles"] == 0  # nobody is counted before the frames are made
    for _ in simulation.frames():
        pass
    numbers = np.concatenate([p.particle[p.present] for p in simulation.positions()])
    diameters = np.concatenate([p.diameter_nm[p.present] for p in simulation.positions()])
    assert simulation.present_frames.sum() == len(numbers)
    assert len(simulation.present_nm) == len(np.unique(numbers))
    assert np.repeat(simulation.present_nm, simulation.present_frames).sum() == pytest.approx(diameters.sum())
    assert set(np.round(simulation.present_nm, 6)) == {100.0, round(100 * CLUMP_SIZE, 6)}


def test_a_deeper_truth_box_holds_more() -> None:
    seen = []
    for in_view, depth in ((30.0, 8.0), (120.0, 32.0)):
        simulation = Simulation(make_recipe(populations=ONE, **{**QUIET, "in_view": in_view, "truth_depth_um": depth}), 0)
        for _ in simulation.frames():
            pass
        seen.append(simulation.truth()["present"]["mean_in_view"])
    assert seen == pytest.approx([30, 120], abs=4 * math.sqrt(120))


def test_truth_of_nobody_is_empty_not_an_error() -> None:
    simulation = Simulation(make_recipe(populations=ONE, **EMPTY), 0)
    for _ in simulation.frames():
        pass
    truth = simulation.truth()["present"]
    assert truth["particles"] == 0
    assert truth["mean_in_view"] == 0
    assert truth["d50_nm"] is None


# --- files ---


def test_written_video_reads_back_with_its_truths(tmp_path: Path) -> None:
    recipe = make_recipe(populations=ONE, **{**QUIET, "name": "r", "in_view": 9})
    calls: list[tuple[str, int, int]] = []
    paths = simulate.write_video(recipe, 3, tmp_path / "new" / "v.tif", lambda *call: calls.append(call))
    assert [p.name for p in paths] == ["v.tif", "v_truth.json", "v_truth.csv"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted(p.name for p in paths)
    assert calls == [("simulate", i, 5) for i in range(1, 6)]
    frames, simulation = simulate.simulate(recipe, 3)
    with open_video(paths[0], Settings()) as video:
        assert np.array_equal([video.read(i) for i in range(5)], frames)
    truth = json.loads(paths[1].read_text())
    assert truth == json.loads(json.dumps(simulation.truth()))
    assert truth["seed"] == 3
    assert truth["recipe"]["pixel_size_um"] == 0.166
    rows = paths[2].read_text().splitlines()
    assert rows[0] == "diameter_nm,frames_present"
    assert len(rows) == 1 + truth["present"]["particles"] == 1 + len(simulation.present_nm)
    assert sum(int(row.split(",")[1]) for row in rows[1:]) == simulation.present_frames.sum()


@pytest.mark.parametrize(
    ("output", "video"), [("v", "v.tif"), ("v.ome.tif", "v.ome.tif"), ("v.avi", "v.avi"), ("v.png", "v"), ("v_0.5", "v_0.5.tif")]
)
def test_the_truth_has_the_name_of_the_video(tmp_path: Path, output: str, video: str) -> None:
    paths = simulate.write_video(make_recipe(populations=ONE, **QUIET, dropped_frames=0.5), 1, tmp_path / output)
    base = "v_0.5" if "0.5" in output else "v"
    assert [p.name for p in paths] == [video, f"{base}_truth.json", f"{base}_truth.csv"]
    assert all(p.exists() for p in paths)


def test_a_stopped_simulation_leaves_nothing(tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate.write_video(make_recipe(populations=ONE, **QUIET), 0, tmp_path / "v.tif", stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes.txt"):
        simulate.write_video(make_recipe(populations=ONE, **QUIET), 0, tmp_path / "v.png", lambda *_: pytest.fail("worked"))


@pytest.mark.parametrize(
    "change",
    [
        {"exposure_ms": 0.0},
        {"exposure_ms": 40.0},
        {"in_view": 1e-9},
        {"confined_fraction": 1.0},
        {"clumps": 1.0, "confined_fraction": 0.5, "directed_fraction": 0.5},
        {"drift_um_s": (500.0, -500.0), "convection_um_s": 100.0},
        {"vibration_um": (1, 1), "vibration_hz": 1000},
        {"flicker": 1.0},
        {"electrons_per_grey": 1e4},
        {"populations": [{"diameter_nm": 15, "gsd": 3}]},
        {"populations": [{"diameter_nm": 1e5}]},
        {"peak_cap_grey": 1e7},
        {"polarity": "dark", "saturation_grey": 10},
    ],
    ids=str,
)
def test_what_a_recipe_may_say_can_be_filmed(change: dict[str, Any]) -> None:
    frames = filmed(**{"n_frames": 3, **change})
    assert frames.shape == (3, 48, 64)
