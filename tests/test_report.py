"""The page, the terminal's table and the whole folder: they say what the summary says."""

from __future__ import annotations

import io
import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_result import empty_result, fake_result
from rich.console import Console

from nta import figure, report
from nta.errors import Notice, UsageError
from nta.limit import DetectionLimit
from nta.result import Result
from nta.settings import Used
from nta.tables import OUR_FILES

LIMIT = DetectionLimit(55.0, 48.0, 63.0)

SVG = '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x" "y">\n<svg width="1pt"><path id="drawn"/></svg>'


@pytest.fixture(scope="module")
def result() -> Result:
    return fake_result("ev", 40, name="plasma 03", per_ml=1.234e9)


@pytest.fixture(scope="module")
def folder(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("out") / "plasma 03"
    report.write_result(result, made)
    return made


class _Page(HTMLParser):
    """Text of a page, cell by cell; fails where tags do not close."""

    VOID = ("meta", "link", "br", "img", "hr", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.all = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """Leave closed tags of the SVG alone."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.all += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def read(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    assert page.open == []
    return page


def told(result: Result, *, terminal: bool = False) -> str:
    text = io.StringIO()
    Console(width=100, force_terminal=terminal, color_system="standard" if terminal else None, file=text).print(
        report.terminal_summary(result)
    )
    return text.getvalue()


# --- the folder ---


def test_folder_holds_every_file(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == sorted(OUR_FILES)
    assert all((folder / name).stat().st_size > 0 for name in OUR_FILES)
    assert os.listdir(folder.parent) == ["plasma 03"], "no leftovers"


def test_same_bytes_on_every_run(folder: Path, tmp_path: Path) -> None:
    report.write_result(fake_result("ev", 40, name="plasma 03", per_ml=1.234e9), tmp_path / "elsewhere")
    for name in OUR_FILES:
        assert (tmp_path / "elsewhere" / name).read_bytes() == (folder / name).read_bytes(), name


def test_no_figure_no_report(tmp_path: Path) -> None:
    empty = empty_result()
    report.write_result(empty, tmp_path / "r", figure=False)
    assert "report.html" in os.listdir(tmp_path / "r")
    assert "<svg" not in (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    report.write_result(empty, tmp_path / "r", figure=False, report=False)
    assert not {"figure.png", "figure.svg", "figure.pdf", "report.html"} & set(os.listdir(tmp_path / "r"))


def test_another_input_is_refused_and_the_old_stays(tmp_path: Path) -> None:
    report.write_result(empty_result(), tmp_path / "r", figure=False)
    with pytest.raises(UsageError, match=r"r holds the result of black\.tif"):
        report.write_result(empty_result(sha256="f" * 64, path="other.tif"), tmp_path / "r", figure=False)
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["input"]["path"] == "black.tif"
    report.write_result(empty_result(sha256="f" * 64, path="other.tif"), tmp_path / "r", figure=False, overwrite=True)
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["input"]["path"] == "other.tif"


def test_failure_in_drawing_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report.write_result(empty_result(), tmp_path / "r", figure=False)
    before = sorted(os.listdir(tmp_path / "r"))

    def fail(result: Result) -> dict[str, bytes]:
        raise ZeroDivisionError

    monkeypatch.setattr(figure, "render", fail)
    with pytest.raises(ZeroDivisionError):
        report.write_result(empty_result(), tmp_path / "r")
    assert os.listdir(tmp_path) == ["r"]
    assert sorted(os.listdir(tmp_path / "r")) == before


# --- the page ---


def test_page_is_whole_and_needs_no_network(folder: Path) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    read(html)
    assert html.count("<svg") == 1
    assert html.startswith("<!doctype html>")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)|url\((?!#)|@import|<script|<link""", html)


def test_page_says_what_the_summary_says(result: Result) -> None:
    summary = result.summary()
    page = read(report.page(result, SVG))
    rows = {row[0]: row[1:] for row in page.rows}
    d50 = summary["size_nm"]["d50"]
    assert rows["D50 (median)"] == [
        f"{d50['value']:.1f}",
        f"{d50['low']:.1f} - {d50['high']:.1f}",
        f"{summary['raw_size_nm']['d50']:.{1 if summary['raw_size_nm']['d50'] < 100 else 0}f}",
    ]
    share = summary["classes"][1]["fraction"]
    assert rows["exosome"][:3] == ["30 - 100", f"{100 * share['value']:.1f} %", f"{100 * share['low']:.1f} - {100 * share['high']:.1f} %"]
    assert rows["apoptotic_body"][0] == ">= 1000"
    assert [rows[name][0] for name in ("too short", "immobile", "linked noise", "tracks sized")] == ["2", "1", "1", "36"]
    assert rows["too short"][1] == "fewer spots than --min-frames"
    assert rows["temperature"] == ["25 C", "2 C", "assumed: not known; give --temperature-c"]
    assert rows["exposure"] == ["15 ms", "0.3 ms", "given"]
    assert "1.23 × 109 particles per mL" in page.all
    assert page.all.count("25 C was assumed; give --temperature-c.") == 1
    assert page.all.count("Size alone does not prove origin") == 1
    assert "Diameter means hydrodynamic diameter" in page.all


def test_page_holds_the_figure_without_its_head(result: Result) -> None:
    html = report.page(result, SVG)
    assert '<path id="drawn"/>' in html
    assert "<?xml" not in html
    assert "DOCTYPE svg" not in html


def test_page_escapes_names_and_messages(result: Result) -> None:
    hostile = replace(
        result, source=replace(result.source, name="<b>x</b>", path="a&b<i>.tif"), notices=(Notice("a", "<u>1"), Notice("b", "2 > 1"))
    )
    html = report.page(hostile)
    page = read(html)
    assert "<b>" not in html
    assert "<u>" not in html
    assert "<b>x</b>" in page.all
    assert "2 > 1" in page.all


def test_page_of_an_empty_video(tmp_path: Path) -> None:
    report.save(empty_result(), tmp_path)
    page = read((tmp_path / "report.html").read_text(encoding="utf-8"))
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["D50 (median)"] == ["-", "-", "-"]
    assert rows["tracks sized"][0] == "0"
    assert "No particle was found." in page.all
    assert "No concentration: no particle was sized." in page.all


def test_page_without_warnings_and_with_unknown_exposure(result: Result) -> None:
    quiet = replace(result, notices=(), calibration=replace(result.calibration, exposure_s=None), detection_limit=LIMIT)
    page = read(report.page(quiet))
    assert "Please note" not in page.all
    assert {row[0]: row[1:] for row in page.rows}["exposure"] == ["-", "-", "not known; give --exposure-ms"]
    assert "The smallest size that this video can show is about 55.0 nm (48.0 to 63.0 nm); smaller particles are not counted." in page.all


# --- the terminal ---


def test_terminal_summary_is_plain_aligned_text(result: Result) -> None:
    text = told(result)
    assert text.isascii()
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 18
    assert lines[0] == "plasma 03  36 of 40 tracks sized (2 too short, 1 immobile, 1 linked noise), 60 frames"
    d50 = result.summary()["size_nm"]["d50"]
    assert next(line for line in lines if line.startswith("D50")).split() == (
        ["D50", "(median)", f"{d50['value']:.1f}", f"{d50['low']:.1f}", "-", f"{d50['high']:.1f}"]
    )
    names = [line.split()[0] for line in lines if line]
    assert names == "plasma diameter D10 D50 D90 mode mean class below_30 exosome microvesicle apoptotic_body 1.23e+09 at".split()
    assert len({len(line) for line in lines if line.startswith(("D10", "D50", "D90", "exosome", "microvesicle"))}) == 1, "aligned"
    assert lines[-1] == "at 0.166 um/px, 25 fps, 15 ms, 25 C (assumed; give --temperature-c)"


def test_terminal_summary_names_the_smallest_size(result: Result) -> None:
    assert "smallest size that can be seen: 55.0 nm (95 % interval 48.0 - 63.0)" in told(replace(result, detection_limit=LIMIT))
    assert "smallest" not in told(result)


def test_terminal_summary_marks_what_was_estimated(result: Result) -> None:
    told_exposure = replace(
        result,
        calibration=replace(result.calibration, exposure_s=None),
        diffusion=replace(result.diffusion, chosen={"exposure_ms": Used(12.5, "measured", 3.0)}),
    )
    assert "12.5 ms (estimated; give --exposure-ms)" in told(told_exposure)
    unknown = replace(told_exposure, diffusion=result.diffusion)
    assert "exposure unknown (give --exposure-ms)" in told(unknown)


def test_terminal_summary_colours_a_terminal_only(result: Result) -> None:
    assert "\x1b[" not in told(result)
    assert "\x1b[1m" in told(result, terminal=True)


def test_terminal_summary_of_an_empty_video() -> None:
    lines = told(empty_result(name="[bold]x")).splitlines()
    assert lines[0] == "[bold]x  0 of 0 tracks sized, 60 frames"
    assert "no particle was sized" in lines


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "auto"), (True, "yes"), (7, "7"), (7.0, "7"), (1.25e-9, "1.25e-9"), (1e12, "1e12"), ("dark", "dark")]
)
def test_plain_settings(value: object, expected: str) -> None:
    assert report._plain(value) == expected
