from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fake_result import fake_result

from nta import score, scorecard, scorechart, tables
from nta.cli import cli
from nta.cli.exits import SOME_FAILED, USAGE
from nta.cli.validate import STANDARD
from nta.diffusion import size_grid_nm
from nta.distribution import Distribution, Interval
from nta.errors import Notice, UsageError
from nta.recipe import Recipe, make_recipe
from nta.score import Line, Score, components, find_score, find_truth, true_mode
from nta.simulate import Simulation
from nta.validate import find_recipe, suite, validate

TINY = {
    "width_px": 160,
    "height_px": 120,
    "n_frames": 60,
    "in_view": 8,
    "peak_at_100nm_grey": 120,
    "brightness_exponent": 3,
    "hot_pixels": 2,
    "stuck_particles": 0,
}


def sample_of(*populations: tuple[float, float, float], **keys: Any) -> Recipe:
    """Return a small recipe of populations given as (diameter, gsd, fraction)."""
    return make_recipe(**TINY | keys, populations=[{"diameter_nm": d, "gsd": g, "fraction": f} for d, g, f in populations])


def nta(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


@pytest.fixture(scope="session")
def write_recipe() -> Callable[..., Path]:
    """Return a function that writes a small recipe with what is given changed."""

    def write(path: Path, diameter_nm: float = 120, **keys: Any) -> Path:
        rows = [f"{key} = {json.dumps(value)}" for key, value in (TINY | keys).items()]
        path.write_text("\n".join([*rows, "[[populations]]", f"diameter_nm = {diameter_nm}", ""]), encoding="utf-8")
        return path

    return write


# --- the standard recipes ---


def test_the_suite_has_every_standard_recipe_and_the_command_names_them():
    expected = (
        "bright_100 bright_200 bright_60 bright_80_200 bright_ev bright_wide hard_100 standard_100 standard_100_150 "
        "standard_100_flow_1 standard_100_flow_5"
    )
    assert list(suite()) == STANDARD == expected.split()
    shown = " ".join(nta("validate", "--help").stdout.split())
    assert all(name in shown for name in STANDARD)


@pytest.mark.parametrize("name", STANDARD)
def test_a_standard_recipe_is_640_by_480_px_600_frames_at_its_own_name(name):
    film = find_recipe(name)
    assert film.name == name
    assert (film.width_px, film.height_px, film.n_frames, film.bits) == (640, 480, 600, 8)
    assert (film.pixel_size_um, film.fps, film.exposure_ms, film.temperature_c) == (0.166, 25.0, 15.0, 25.0)
    bright, hard = name.startswith("bright"), name.startswith("hard")
    assert film.peak_at_100nm_grey == (120 if bright else 20 if hard else 40)
    assert film.brightness_exponent == (3 if bright else 6)
    assert film.in_view == (150 if hard else 60)


@pytest.mark.parametrize(("name", "speed_um_s"), [("standard_100", 0.5), ("hard_100", 6.0)])
def test_the_drift_is_that_of_the_recipe(name, speed_um_s):
    assert math.hypot(*find_recipe(name).drift_um_s) == pytest.approx(speed_um_s)


@pytest.mark.parametrize(("name", "px_per_frame"), [("standard_100_flow_1", 1.0), ("standard_100_flow_5", 5.0)])
def test_flow_recipes_move_by_whole_pixels_a_frame(name, px_per_frame):
    film = find_recipe(name)
    assert film.drift_um_s[0] / film.fps / film.pixel_size_um == pytest.approx(px_per_frame)


@pytest.mark.parametrize("name", ["bright_80_200", "standard_100_150"])
def test_mixtures_are_seventy_to_thirty(name):
    assert [p.fraction for p in components(find_recipe(name))] == pytest.approx([0.7, 0.3])


def test_a_recipe_is_found_by_its_path_before_its_name(in_tmp_path, write_recipe):
    write_recipe(Path("standard_100"), n_frames=33)
    assert find_recipe("standard_100").n_frames == 33
    assert find_recipe(str(write_recipe(Path("mine.toml"), n_frames=34))).n_frames == 34


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("standart_100", r"^standart_100: neither a recipe's file nor a standard recipe.*did you mean 'standard_100'"),
        ("missing.toml", r"^no such recipe: missing\.toml$"),
    ],
)
def test_what_is_no_recipe_is_refused(in_tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        find_recipe(given)


@pytest.mark.parametrize("name", ["a/b", "..", "a\\b"])
def test_a_recipe_whose_name_is_no_file_name_is_refused(in_tmp_path, write_recipe, name):
    with pytest.raises(UsageError, match=r"^r\.toml: name = .* is not the name of a file$"):
        find_recipe(str(write_recipe(Path("r.toml"), name=name)))


# --- what is judged ---


@pytest.mark.parametrize(
    ("share", "judged"),
    [(0.7, ["d10", "d50", "d90"]), (0.5, ["d10", "d90"]), (0.41, ["d10", "d90"]), (0.39, ["d10", "d50", "d90"]), (0.85, ["d10", "d50"])],
)
def test_no_quantile_is_judged_near_a_gap(share, judged):
    film = sample_of((80, 1, share), (200, 1, 1 - share), n_frames=60)
    found = find_score(fake_result("bimodal"), Simulation(film, 0))
    assert [line.statistic for line in found.lines if line.statistic in score.QUANTILES and not line.why_not] == judged


def test_quantiles_within_one_broad_population_are_judged():
    found = find_score(fake_result("bimodal"), Simulation(sample_of((80, 1.6, 0.5), (120, 1.6, 0.5)), 0))
    assert [line.why_not for line in found.lines if line.statistic in score.QUANTILES] == ["", "", ""]


@pytest.mark.parametrize(
    ("population", "unjudged"),
    [
        ((100, 1, 1), {"fraction_exosome", "fraction_microvesicle"}),
        ((104, 1, 1), {"fraction_exosome", "fraction_microvesicle"}),
        ((106, 1, 1), set()),
        ((95, 1.4, 1), set()),
        ((30, 1.02, 1), {"fraction_below_30", "fraction_exosome"}),
    ],
)
def test_no_class_is_judged_whose_edge_runs_through_a_population(population, unjudged):
    found = find_score(fake_result(), Simulation(sample_of(population), 0))
    assert {line.statistic for line in found.lines if line.statistic.startswith("fraction") and line.why_not} == unjudged


@pytest.mark.parametrize(
    ("populations", "mode", "why_not"),
    [
        ([(95, 1.4, 1)], 95 * math.exp(-(math.log(1.4) ** 2)), ""),
        ([(100, 1, 1)], 100, ""),
        # 0.7 / 80 against 0.3 / 200: six times as high
        ([(80, 1, 0.7), (200, 1, 0.3)], 80, ""),
        # 0.4 / 80 against 0.6 / 200
        ([(80, 1, 0.4), (200, 1, 0.6)], 80, "two populations are about as high"),
        ([(80, 1.5, 0.7), (120, 1.5, 0.3)], 80 * math.exp(-(math.log(1.5) ** 2)), "the populations overlap"),
    ],
)
def test_the_mode_of_the_sample(populations, mode, why_not):
    assert true_mode(sample_of(*populations)) == (pytest.approx(mode), why_not)


def test_clumps_are_populations_too():
    found = components(sample_of((100, 1, 2), (50, 1, 2), clumps=0.2))
    assert [p.diameter_nm for p in found] == pytest.approx([50, 50 * 1.392, 100, 139.2], rel=1e-3)
    assert [p.fraction for p in found] == pytest.approx([0.4, 0.1, 0.4, 0.1])


# --- a line ---


def line(value: float, low: float, high: float, sample: float, present: float = math.nan, unit: str = "nm", **keys: Any) -> Line:
    return Line("d50", unit, Interval(value, low, high, low, high), sample, present, **keys)


def test_a_point_is_judged_by_the_present_and_an_interval_by_the_sample():
    one = line(110.0, 101.0, 120.0, sample=100.0, present=105.0)
    assert one.error == pytest.approx(110 / 105 - 1)
    assert one.covers is False
    assert replace(one, sample=101.0).covers is True
    assert line(110.0, 101.0, 120.0, sample=100.0).error == pytest.approx(0.1)


def test_the_error_of_a_share_is_a_difference():
    one = line(0.25, 0.0, 0.5, sample=0.0, present=0.2, unit="")
    assert one.error == pytest.approx(0.05)
    assert one.covers is True


def test_without_an_interval_nothing_is_covered_or_missed():
    assert line(110.0, math.nan, math.nan, sample=100.0).covers is None


# --- distances ---


def distribution_of(weight: np.ndarray) -> Distribution:
    return Distribution(size_grid_nm(), weight, weight, np.empty((0, len(weight))), np.empty(0), 0.0, np.empty(0), Interval(0, 0, 0, 0, 0))


def test_distance_of_one_cell_to_one_size():
    grid = size_grid_nm()
    weight = np.zeros(len(grid))
    weight[60] = 1.0
    step = math.log(grid[1] / grid[0])
    # far away: the distance of the middles; on the cell itself: a quarter of its width, the mean distance to its middle
    assert score.distance(distribution_of(weight), np.array([grid[80]]), np.ones(1)) == pytest.approx(20 * step)
    assert score.distance(distribution_of(weight), np.array([grid[60]]), np.ones(1)) == pytest.approx(step / 4)


def test_distance_agrees_with_that_of_many_points():
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng(0)
    weight = rng.dirichlet(np.full(len(size_grid_nm()), 0.1))
    nm, share = rng.uniform(20, 2000, 50), rng.dirichlet(np.ones(50))
    ln_edges, parts = np.log(distribution_of(weight).edges_nm), 400
    middles = ln_edges[:-1, None] + (np.arange(parts) + 0.5) / parts * np.diff(ln_edges)[:, None]
    naive = wasserstein_distance(middles.ravel(), np.log(nm), np.repeat(weight / parts, parts), share)
    assert score.distance(distribution_of(weight), nm, share) == pytest.approx(naive, rel=1e-4)


def test_nothing_measured_or_nobody_present_has_no_distance():
    nothing = distribution_of(np.zeros(len(size_grid_nm())))
    assert math.isnan(score.distance(nothing, np.array([100.0]), np.ones(1)))
    something = distribution_of(np.full(len(size_grid_nm()), 1 / len(size_grid_nm())))
    assert math.isnan(score.distance(something, np.empty(0), np.empty(0)))


# --- who was there ---


def test_a_track_is_of_the_particle_under_half_of_its_spots():
    # track 0: 4 spots, 2 on particle 7; track 1: 5 spots, 2 on particle 8; track 2: 3 spots, all on 9
    pairs = np.array([[0, 7], [0, 7], [0, 8], [1, 8], [1, 8], [2, 9], [2, 9], [2, 9]])
    assert score._most_of(pairs, np.array([4, 5, 3])).tolist() == [7, 9]
    assert score._most_of(np.empty((0, 2), np.int64), np.array([4])).tolist() == []


def test_the_present_are_those_of_the_simulation():
    film = sample_of((120, 1.3, 1))
    simulation = Simulation(film, 3)
    list(simulation.frames())
    truth = find_truth(fake_result(), simulation)
    assert truth.present_nm == pytest.approx(simulation.present_nm)
    assert truth.present == pytest.approx(simulation.present_frames / simulation.present_frames.sum())
    assert truth.in_view == pytest.approx(simulation.present_frames.sum() / film.n_frames)


def test_scores_of_a_made_up_result():
    found = find_score(fake_result("bimodal"), Simulation(sample_of((80, 1, 0.7), (200, 1, 0.3)), 0))
    lines = {one.statistic: one for one in found.lines}
    assert (
        list(lines)
        == (
            "d10 d50 d90 mean mode fraction_below_30 fraction_exosome fraction_microvesicle fraction_apoptotic_body "
            "peak_1 peak_1_fraction peak_2 peak_2_fraction"
        ).split()
    )
    assert (lines["d10"].sample, lines["d90"].sample, lines["mean"].sample) == pytest.approx((80, 200, 116))
    assert lines["fraction_exosome"].sample == pytest.approx(0.7)
    # all apart, so that those present belong to one population each
    assert (lines["peak_1"].present, lines["peak_2"].present) == (80, 200)
    assert lines["peak_1_fraction"].present == pytest.approx(lines["fraction_exosome"].present)
    assert found.peaks_true == 2
    assert 0 < found.w1_luck < 0.5


# --- several videos together ---


def made_up(name: str, seed: int, d50: tuple[float, float, float], **keys: Any) -> Score:
    """Return a score of 100 nm spheres whose only size is a D50 with its interval."""
    grid = size_grid_nm()
    weight = np.exp(-0.5 * (np.log(grid / d50[0]) / 0.1) ** 2)
    lines = (
        line(*d50, sample=100.0, present=100.0),
        replace(line(*d50, sample=100.0), statistic="mode", why_not="the populations overlap"),
        Line("fraction_exosome", "", Interval(0.5, 0.4, 0.6, 0.4, 0.6), 0.55, 0.52),
    )
    known = {"peaks": 1, "peaks_true": 1, "sized_share": 0.8, "notices": (Notice("few_particles", "few"),), "w1_sample": 0.1}
    film = replace(sample_of((100, 1, 1)), name=name)
    return Score(film, seed, lines=lines, grid_nm=grid, weight=weight / weight.sum(), **known | keys)


SCORES = [
    made_up("one", 0, (102.0, 98.0, 106.0)),
    made_up("one", 1, (104.0, 101.0, 108.0)),
    made_up("two", 0, (90.0, 80.0, 101.0), notices=()),
    Score(replace(sample_of((100, 1, 1)), name="three"), 0, error="cannot be analysed"),
]


def test_errors_and_coverage_over_the_seeds():
    found = scorecard.summary(SCORES)
    one, two, three = found["recipes"]
    d50 = one["statistics"]["d50"]
    assert (d50["n"], d50["held"], d50["intervals"]) == (2, 1, 2)
    assert d50["mean_error"] == pytest.approx(0.03)
    assert d50["sd_error"] == pytest.approx(0.02 / math.sqrt(2))
    assert "mode" not in one["statistics"]
    assert one["statistics"]["fraction_exosome"]["mean_error"] == pytest.approx(-0.02)
    assert one["warnings"] == {"few_particles": 2}
    assert math.isnan(two["statistics"]["d50"]["sd_error"])
    assert (three["videos"], three["statistics"]) == (0, {})
    assert found["coverage"] == {"held": 5, "intervals": 6}
    assert found["failures"] == [{"recipe": "three", "seed": 0, "error": "cannot be analysed"}]


def test_the_terminal_shows_errors_with_their_spread():
    from rich.console import Console

    console = Console(width=100, file=io.StringIO())
    console.print(scorecard.terminal_summary(SCORES))
    text = console.file.getvalue()
    assert re.search(r"^one +2 +- +\+3\.0±1\.4 +- +- +- +3 of 4 *$", text, re.MULTILINE)
    assert re.search(r"^two +1 +- +-10\.0 +- +- +- +2 of 2 *$", text, re.MULTILINE)
    assert re.search(r"^three +0( +-){5} +0 of 0 *$", text, re.MULTILINE)
    assert "one: few_particles (2 of 2)" in text
    assert "5 of 6 intervals (83 %) hold the sample's value" in text


def test_the_figure_has_a_row_a_recipe_and_is_180_mm_wide():
    drawn = scorechart.draw(SCORES)
    assert drawn.get_figwidth() * 25.4 == pytest.approx(180)
    assert len(drawn.axes) == 3 * 3 + 1
    said = [t.get_text() for ax in drawn.axes for t in ax.texts]
    assert [name for name in said if name in ("one", "two", "three")] == ["one", "two", "three"]
    assert "failed" in said
    assert sum("W1 = 0.100" in text for text in said) == 2


@pytest.mark.parametrize(("recipes", "height_mm"), [(1, 47), (3, 114), (11, 285)])
def test_few_recipes_have_high_rows_and_many_share_a_page(recipes, height_mm):
    drawn = scorechart.draw([made_up(f"r{i}", 0, (102.0, 95.0, 112.0)) for i in range(recipes)])
    assert drawn.get_figheight() * 25.4 == pytest.approx(height_mm)


def test_the_axis_of_deviations_holds_every_judged_interval():
    ax = scorechart.draw([made_up("one", 0, (102.0, 95.0, 112.0))]).axes[1]
    # 12 % and a tenth of room
    assert ax.get_xlim() == (-15, 15)
    far = scorechart.draw([made_up("one", 0, (250.0, 240.0, 260.0))]).axes[1]
    assert far.get_xlim() == (-60, 60)
    assert any(mark.get_marker() == ">" for mark in far.lines)


def test_columns_and_standard_recipes_are_documented():
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    for heading, frame in (("scorecard.csv", scorecard.lines_frame(SCORES)), ("videos.csv", scorecard.videos_frame(SCORES))):
        rows = re.search(rf"^### {re.escape(heading)}\n(.*?)^### ", page, re.MULTILINE | re.DOTALL)
        assert rows
        assert re.findall(r"^\| `(\w+)` \|", rows[1], re.MULTILINE) == list(frame.columns)
    shown = page[page.index("### Standard recipes") :]
    assert sorted(name for row in re.findall(r"^\| (`.*?) \|", shown, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)) == STANDARD
    assert all(f"`{key}`" in page for key in scorecard.summary(SCORES))
    assert all(name in page for name in scorecard.SCORECARD.files)


# --- the folder ---


def test_a_folder_of_other_recipes_is_refused_and_of_the_same_replaced(tmp_path):
    folder = tmp_path / "card"
    scorecard.write_scorecard(SCORES[2:], folder, "a" * 64)
    assert sorted(p.name for p in folder.iterdir()) == sorted(scorecard.SCORECARD.files)
    assert [row["error"] for row in read_csv(folder / "videos.csv")] == ["", "cannot be analysed"]
    (folder / "mine.txt").write_text("kept")
    scorecard.write_scorecard(SCORES[2:3], folder, "a" * 64)
    assert (folder / "mine.txt").read_text() == "kept"
    assert len(read_csv(folder / "videos.csv")) == 1
    with pytest.raises(UsageError, match=r"holds the result of two; give another -o \(or --overwrite\)$"):
        scorecard.write_scorecard(SCORES, folder, "b" * 64)
    tables.check_folder(folder, "b" * 64, overwrite=True, kind=scorecard.SCORECARD)
    # it is no result, which nothing makes right
    with pytest.raises(UsageError, match=r"was not written by nta and is left alone; give another -o or --name$"):
        tables.check_folder(folder, "a" * 64, overwrite=True)


def test_a_result_is_no_scorecard(tmp_path):
    tables.write_tables(fake_result(), tmp_path)
    with pytest.raises(UsageError, match=r"was not written by nta and is left alone; give another -o$"):
        tables.check_folder(tmp_path, "0" * 64, overwrite=True, kind=scorecard.SCORECARD)


def test_the_fingerprint_is_of_recipes_and_seeds():
    film = sample_of((100, 1, 1))
    other = replace(film, fps=30.0)
    assert len({scorecard.fingerprint(*call) for call in (([film], 1), ([film], 2), ([other], 1), ([film, other], 1))}) == 4
    assert scorecard.fingerprint([film], 1) == scorecard.fingerprint([replace(film)], 1)


# --- the command ---


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, write_recipe: Callable[..., Path]) -> tuple[Path, Result]:
    """Validate a small recipe and one whose video cannot be analysed, and keep the videos."""
    folder = tmp_path_factory.mktemp("validate")
    good = write_recipe(folder / "good.toml", seed=5)
    # a pixel of 50 um is beyond what the analysis believes of a file
    bad = write_recipe(folder / "bad.toml", pixel_size_um=50, n_frames=3, width_px=32, height_px=32)
    out = nta("validate", good, bad, "--seeds", 1, "-o", folder / "card", "--keep", folder / "videos", "--threads", 1)
    return folder, out


def test_a_video_that_fails_is_a_row_and_the_others_are_written(ran):
    folder, out = ran
    assert out.exit_code == SOME_FAILED, out.output
    assert re.match(r"^nta: error: bad, seed 0: .*--pixel-size-um", out.stderr)
    good, bad = read_csv(folder / "card" / "videos.csv")
    assert (good["recipe"], good["seed"], good["error"]) == ("good", "5", "")
    assert (bad["recipe"], bad["seed"], bad["w1_sample_ln"]) == ("bad", "0", "")
    assert "--pixel-size-um" in bad["error"]
    assert {row["recipe"] for row in read_csv(folder / "card" / "scorecard.csv")} == {"good"}
    assert "good" in out.stdout
    assert str(folder / "card" / "scorecard.png") in out.stdout


def test_the_calibration_of_the_file_is_enough_to_find_the_size(ran):
    folder, _ = ran
    (good, _), rows = read_csv(folder / "card" / "videos.csv"), read_csv(folder / "card" / "scorecard.csv")
    d50 = next(row for row in rows if row["statistic"] == "d50")
    # about 60 tracks: 15 % is twice what such a video scatters
    assert float(d50["error"]) == pytest.approx(0.0, abs=0.15)
    assert float(d50["sample"]) == float(d50["present"]) == 120
    assert float(good["w1_sample_ln"]) < 0.2
    assert 0.6 < float(good["sized_share"]) <= 1
    assert float(good["smallest_sized_nm"]) == float(good["smallest_present_nm"]) == 120
    truth = json.loads((folder / "videos" / "good_5_truth.json").read_text(encoding="utf-8"))
    assert float(good["present_per_frame"]) == pytest.approx(truth["present"]["mean_in_view"])
    assert float(good["analyze_s"]) > 0


def test_another_recipe_does_not_use_a_kept_video(ran, write_recipe):
    folder, _ = ran
    changed = write_recipe(folder / "changed.toml", name="good", seed=5, n_frames=61)
    out = nta("validate", changed, "--seeds", 1, "-o", folder / "new", "--keep", folder / "videos")
    assert out.exit_code == USAGE
    assert re.match(r"^nta: error: --keep: .*good_5\.tif is not a video of the recipe good as it is", out.stderr)
    assert not (folder / "new").exists()


def test_a_kept_video_is_used_again_unless_its_particles_were_others(tmp_path):
    blind = sample_of((100, 1, 1), peak_at_100nm_grey=0.1, n_frames=20, width_px=64, height_px=64)
    first = validate(blind, 0, keep=tmp_path)
    video, truth = tmp_path / "simulation_0.tif", tmp_path / "simulation_0_truth.json"
    written = video.stat().st_mtime_ns
    again = validate(blind, 0, keep=tmp_path)
    assert video.stat().st_mtime_ns == written
    assert again.present_per_frame == first.present_per_frame > 0
    known = json.loads(truth.read_text(encoding="utf-8"))
    known["present"]["mean_in_view"] *= 1.1
    truth.write_text(json.dumps(known), encoding="utf-8")
    with pytest.raises(UsageError, match=r"^--keep: .*simulation_0\.tif was filmed by another version of nta; give another folder, or"):
        validate(blind, 0, keep=tmp_path)


def test_a_scorecard_of_other_recipes_is_refused_before_any_work(ran, write_recipe):
    folder, _ = ran
    out = nta("validate", "standard_100", "-o", folder / "card")
    assert out.exit_code == USAGE
    assert "holds the result of good, bad; give another -o (or --overwrite)" in out.stderr


def test_no_recipe_and_two_of_one_name_are_refused(in_tmp_path, write_recipe):
    out = nta("validate")
    assert (out.exit_code, out.stdout) == (USAGE, "")
    assert "no RECIPE given; name files or standard recipes, or take --suite" in out.stderr
    first, second = write_recipe(Path("a.toml"), name="same"), write_recipe(Path("b.toml"), name="same", fps=30)
    out = nta("validate", first, second)
    assert out.exit_code == USAGE
    assert "b.toml: another recipe of this call is named 'same' too" in out.stderr
    assert not Path("nta_scorecard").exists()


def test_json_and_quiet(in_tmp_path, write_recipe):
    blind = write_recipe(Path("blind.toml"), peak_at_100nm_grey=0.1, n_frames=20, width_px=64, height_px=64)
    out = nta("validate", blind, "--seeds", 2, "--json", "--quiet")
    assert out.exit_code == 0, out.output
    found = json.loads(out.stdout)
    assert [r["name"] for r in found["recipes"]] == ["blind"]
    assert found["recipes"][0]["seeds"] == [0, 1]
    # nothing seen is nothing claimed
    assert found["recipes"][0]["statistics"] == {}
    assert found["coverage"] == {"held": 0, "intervals": 0}
    assert found["recipes"][0]["sized_share"] == 0
