"""The figure: what it says, that nothing overlaps, that it is the same on every run."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fake_result import GRID_NM, SAMPLES, empty_result, fake_result
from matplotlib.figure import Figure

from nta import figure
from nta.classes import SizeClass
from nta.limit import DetectionLimit
from nta.result import Result

LONG_NAME = "2024-03-01 EV preparation A, dilution 1000, field 03, replicate 2, plasma of donor 17"


def texts(drawn: Figure) -> list[str]:
    return [t.get_text() for t in drawn.texts] + [t.get_text() for ax in drawn.axes for t in ax.texts]


def visible(drawn: Figure) -> list[matplotlib.text.Text]:
    """Return every text that is seen: labels, names, and the ticks in view."""
    drawn.canvas.draw()
    seen = [*drawn.texts]
    for ax in drawn.axes:
        if ax.axison:
            seen += [ax.xaxis.label, ax.yaxis.label, *ax.texts]
            for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
                seen += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
    return [t for t in seen if t.get_text()]


def samples() -> dict[str, Result]:
    made = {name: fake_result(name, 200, name=name) for name in SAMPLES}
    made["few"] = fake_result("ev", 10, name=LONG_NAME, spread=0.4)
    made["empty"] = empty_result()
    made["limited"] = replace(made["ev"], detection_limit=DetectionLimit(52.0, 45.0, 60.0))
    made["limited_wide"] = replace(made["wide"], detection_limit=DetectionLimit(52.0, 45.0, 60.0))
    return made


@pytest.fixture(scope="module")
def drawn() -> dict[str, Figure]:
    return {name: figure.draw(result) for name, result in samples().items()}


@pytest.mark.parametrize("name", samples())
def test_nothing_overlaps_and_all_is_inside(drawn: dict[str, Figure], name: str) -> None:
    page = drawn[name].bbox
    boxes = [(t.get_text(), t.get_window_extent()) for t in visible(drawn[name])]
    assert len(boxes) >= 8
    for text, box in boxes:
        assert box.x0 >= page.x0, text
        assert box.x1 <= page.x1, text
        assert box.y0 >= page.y0, text
        assert box.y1 <= page.y1, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 2 or b.y1 <= a.y0 + 2
        assert apart, f"{one!r} overlaps {other!r}"


def test_one_column_wide_and_readable(drawn: dict[str, Figure]) -> None:
    for name, made in drawn.items():
        assert made.get_figwidth() * 25.4 == pytest.approx(88.0), name
        assert all(6.5 <= t.get_fontsize() <= 8 for t in visible(made)), name


def test_says_what_was_measured(drawn: dict[str, Figure]) -> None:
    said = texts(drawn["ev"])
    dist = fake_result("ev", 200).distribution
    mode, mean, d10, d50, d90 = (f"{dist.statistic(s).value:.0f}" for s in ("mode", "mean", "d10", "d50", "d90"))
    assert {"ev", "n = 196 tracks", f"mode {mode}", f"mean {mean}", f"D10/50/90 {d10}/{d50}/{d90} nm"} <= set(said)
    assert {"< 30", "exosome", "microvesicle"} <= set(said)
    assert "apoptotic body" not in said, "out of view"


def plot(made: Figure) -> matplotlib.axes.Axes:
    return next(ax for ax in made.axes if ax.get_xlabel())


@pytest.mark.parametrize(
    ("name", "scale", "unit"), [("ev", "linear", "nm"), ("bead", "linear", "nm"), ("large", "linear", "nm"), ("wide", "log", "decade")]
)
def test_axis_is_log_only_where_sizes_are_wide(drawn: dict[str, Figure], name: str, scale: str, unit: str) -> None:
    ax = plot(drawn[name])
    assert ax.get_xscale() == scale
    assert ax.get_xlabel() == "Hydrodynamic diameter (nm)"
    assert ax.get_ylabel() == f"Number density (% per {unit})"


@pytest.mark.parametrize("name", SAMPLES)
def test_curve_encloses_100_percent_inside_its_band(drawn: dict[str, Figure], name: str) -> None:
    ax = plot(drawn[name])
    x, y = max((line.get_data() for line in ax.lines), key=lambda data: len(data[0]))
    measure = np.log10(x) if ax.get_xscale() == "log" else x
    assert np.trapezoid(y, measure) == pytest.approx(100.0, abs=2.0), "in % per unit; a little lies out of view"
    band = ax.collections[0].get_paths()[0]
    inside = y > 0.02 * y.max()
    upper = band.vertices[:, 1].max()
    assert y.max() <= upper <= 5 * y.max()
    assert band.contains_points(np.column_stack([x, y])[inside], radius=1e-3).mean() > 0.9


@pytest.mark.parametrize("name", SAMPLES)
def test_raw_histogram_is_a_density_of_the_same_unit(drawn: dict[str, Figure], name: str) -> None:
    ax = plot(drawn[name])
    steps = next(p for p in ax.patches if isinstance(p, matplotlib.patches.StepPatch)).get_data()
    edges = np.log10(steps.edges) if ax.get_xscale() == "log" else steps.edges
    total = np.sum(steps.values * np.diff(edges))
    assert 90.0 <= total <= 100.0 + 1e-9, "raw diameters beyond the axis are out of view"
    assert 5 <= np.count_nonzero(steps.values) <= 80


def test_long_name_is_cut_in_its_middle(drawn: dict[str, Figure]) -> None:
    shown = next(t for t in texts(drawn["few"]) if " ... " in t)
    begin, end = shown.split(" ... ")
    assert LONG_NAME.startswith(begin)
    assert LONG_NAME.endswith(end)
    assert len(shown) > 25


@pytest.mark.parametrize(("name", "low"), [("limited", 0.0), ("limited_wide", None)])
def test_what_is_not_seen_is_hatched_and_named(drawn: dict[str, Figure], name: str, low: float | None) -> None:
    ax = drawn[name].axes[0]
    (hatched,) = [patch for patch in ax.patches if patch.get_hatch()]
    left, right = hatched.get_x(), hatched.get_x() + hatched.get_width()
    assert right == pytest.approx(52.0)
    assert left == pytest.approx(ax.get_xlim()[0] if low is None else low)
    assert "not seen below 52 nm" in texts(drawn[name])


def test_where_all_is_seen_nothing_is_hatched(drawn: dict[str, Figure]) -> None:
    assert not any(patch.get_hatch() for patch in drawn["ev"].axes[0].patches)
    small = figure.draw(replace(fake_result("wide"), detection_limit=DetectionLimit(16.0, 15.0, 17.0)))
    assert not any(patch.get_hatch() for patch in small.axes[0].patches)
    assert not any("not seen" in text for text in texts(small))


def test_empty_result_says_so(drawn: dict[str, Figure]) -> None:
    assert {"no particles sized", "n = 0 tracks", "black"} <= set(texts(drawn["empty"]))


def test_names_without_room_are_left_to_the_report() -> None:
    crowd = (*(SizeClass(f"rather_long_name_{i}", 10.0 * i, 10.0 * (i + 1)) for i in range(30)), SizeClass("rest", 300.0, np.inf))
    result = fake_result("ev", 20)
    share = tuple(result.distribution.share(c.low_nm, c.high_nm) for c in crowd)
    made = figure.draw(replace(result, classes=replace(result.classes, classes=crowd, fraction=share)))
    named = [t for t in texts(made) if t.startswith("rather long name")]
    assert 1 <= len(named) <= 5
    boxes = [t.get_window_extent() for t in visible(made)]
    assert all(box.x1 <= made.bbox.x1 for box in boxes)


def test_any_name_can_be_drawn() -> None:
    made = figure.draw(empty_result(name="$x_1$ { 样品\nb"))
    made.canvas.draw()
    assert "$x_1$ { 样品 b" in texts(made), "as it is, in one line"
    figure.draw(empty_result(name="")).canvas.draw()


@pytest.mark.parametrize("case", ["one cell", "no raw", "one raw", "no replicates", "ends of the grid"])
def test_odd_distributions_can_be_drawn(case: str) -> None:
    dist = fake_result("ev", 20).distribution
    weight = np.zeros_like(GRID_NM)
    weight[60] = 1.0
    ends = np.zeros_like(GRID_NM)
    ends[[0, -1]] = 0.5
    odd = {
        "one cell": replace(dist, weight=weight),
        "no raw": replace(dist, raw_nm=np.zeros(0)),
        "one raw": replace(dist, raw_nm=np.array([90.0])),
        "no replicates": replace(dist, replicates=np.zeros((0, len(GRID_NM))), scale=np.zeros(0)),
        "ends of the grid": replace(dist, weight=ends, raw_nm=GRID_NM[[0, -1]]),
    }[case]
    made = figure.draw(replace(fake_result("ev", 20), distribution=odd))
    assert plot(made).get_ylim()[1] > 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("figure")
    figure.save(fake_result("ev", 20), made)
    return made


def test_same_bytes_on_every_run_whatever_the_users_style(folder: Path) -> None:
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "lines.linewidth": 9, "savefig.bbox": "tight", "savefig.dpi": 50}):
        again = figure.render(fake_result("ev", 20))
    assert again == {p.name: p.read_bytes() for p in folder.iterdir()}
    assert sorted(again) == ["figure.pdf", "figure.png", "figure.svg"]
    assert b"<dc:date>" not in again["figure.svg"]
    assert b"/CreationDate" not in again["figure.pdf"]


def test_files_are_300_dpi_and_real(folder: Path) -> None:
    from PIL import Image

    with Image.open(folder / "figure.png") as image:
        assert image.width == pytest.approx(88 / 25.4 * 300, abs=1.5)
        assert image.info["dpi"][0] == pytest.approx(300, abs=0.5)
    assert re.match(rb"<\?xml[^>]*>", (folder / "figure.svg").read_bytes())
    assert (folder / "figure.pdf").read_bytes().startswith(b"%PDF-")


def test_save_as_goes_by_the_suffix(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    figure.save_as(drawn["bead"], tmp_path / "a.SVG")
    assert b"<svg" in (tmp_path / "a.SVG").read_bytes()


def test_pyplot_is_not_touched() -> None:
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from fake_result import empty_result
from nta import figure
import matplotlib
now = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != "backend"}  # asking for that one loads pyplot
before = now()
figure.render(empty_result())
assert now() == before
print("matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
