from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from fake_result import CLASSES, fake_result

from nta import simulate, tables
from nta.cli import cli
from nta.flags import Flag, names
from nta.settings import KNOBS, Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md"), ROOT / "benchmarks" / "README.md"])


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """Return the text under a heading, up to the next one of its rank or above."""
    rank = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{rank}}} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def in_first_cells(text: str) -> list[str]:
    """Return what stands as code in the first column of every table row, in order."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def generic(column: str) -> str:
    """Return a column with the name of its class as ``<class>``."""
    for c in CLASSES:
        column = column.replace(c.name, "<class>")
    return column


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli_reference", DOCS / "make_cli_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the command line ---


def test_cli_reference_is_up_to_date(maker):
    expected = maker.reference()
    assert text_of(DOCS / "cli.md") == expected, "run: .venv/bin/python docs/make_cli_reference.py"


def test_cli_reference_does_not_depend_on_the_terminal(maker, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    wide = maker.reference()
    assert wide == text_of(DOCS / "cli.md")
    assert "\x1b" not in wide
    assert max(len(line) for block in wide.split("```")[1::2] for line in block.splitlines()) <= 80


def test_cli_reference_has_every_command_and_every_option(maker):
    page = text_of(DOCS / "cli.md")

    def walk(command: click.Command, *words: str) -> Iterator[tuple[str, click.Command]]:
        yield " ".join(words), command
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, *words, name)

    every = dict(walk(cli, "nta"))
    assert set(every) >= {"nta", "nta analyze", "nta simulate", "nta completion"}
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == sorted(every)
    for name, command in every.items():
        shown = section(page, f"## {name}")
        for param in command.params:
            for option in param.opts if isinstance(param, click.Option) else []:
                assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown), (name, option)


@pytest.mark.parametrize("knob", KNOBS.values(), ids=lambda knob: knob.name)
def test_every_setting_is_documented(knob):
    analyze = section(text_of(DOCS / "cli.md"), "## nta analyze")
    assert re.search(rf"^  {re.escape(knob.option)}(?![\w-])", analyze, re.MULTILINE)
    assert " ".join(knob.help.split())[1:] in " ".join(analyze.split())
    row = re.search(rf"^\| `\[{knob.section}\]` \| (.*) \|$", text_of(DOCS / "formats.md"), re.MULTILINE)
    assert row
    assert f"`{knob.name}`" in row[1]


def test_no_setting_is_documented_that_is_not_there():
    rows = re.findall(r"^\| `\[(\w+)\]` \| (.*) \|$", text_of(DOCS / "formats.md"), re.MULTILINE)
    documented = {(name, head) for head, cell in rows for name in re.findall(r"`(\w+)`", cell)}
    assert documented == {(knob.name, knob.section) for knob in KNOBS.values()}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_option_that_a_page_names_exists(path):
    known = {"--version", "--help"}
    for command in (cli, *cli.commands.values()):
        known |= {name for param in command.params if isinstance(param, click.Option) for name in [*param.opts, *param.secondary_opts]}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text_of(path))) - known == set()


# --- files and columns ---


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the data files of a result, and the table of several."""
    folder = tmp_path_factory.mktemp("result")
    result = fake_result(per_ml=1e8)
    tables.write_tables(result, folder)
    (folder / "several").mkdir()
    tables.write_summary_table(folder / "several" / "summary.csv", [result], [("broken", "cannot be read")])
    return folder


def header(path: Path) -> list[str]:
    return text_of(path).splitlines()[0].split(",")


@pytest.mark.parametrize("name", ["histogram.csv", "particles.csv", "tracks.csv", "frames.csv"])
def test_every_column_is_documented_in_order(written, name):
    documented = in_first_cells(section(text_of(DOCS / "formats.md"), f"### {name}"))
    assert documented == list(dict.fromkeys(generic(column) for column in header(written / name)))


def test_every_column_of_the_summary_is_documented(written):
    documented = in_first_cells(section(text_of(DOCS / "formats.md"), "### summary.csv"))
    assert len(set(documented)) == len(documented)
    columns = header(written / "summary.csv")
    assert set(documented) == {generic(column) for column in columns} | {"error"}
    assert header(written / "several" / "summary.csv") == [*columns, "error"]


def test_every_file_of_a_result_is_documented(written):
    page, readme = text_of(DOCS / "formats.md"), text_of(ROOT / "README.md")
    headings = " ".join(re.findall(r"^### (.+)$", page, re.MULTILINE)).replace(",", "").split()
    assert set(tables.OUR_FILES) <= set(headings)
    assert {p.name for p in written.iterdir() if p.is_file()} <= set(tables.OUR_FILES)
    for name in tables.OUR_FILES:
        assert name in readme or f"`.{name.rpartition('.')[2]}`" in readme, name


def test_every_key_of_the_json_is_documented():
    shown = section(text_of(DOCS / "formats.md"), "### summary.json")
    summary = tables.summary(fake_result(per_ml=1e8))
    table = {line.split("|")[1].strip(" `"): line for line in shown.splitlines() if line.startswith("| `")}
    assert list(table) == list(summary)

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(keys, value))
        return set(value) | set().union(*map(keys, value.values())) if isinstance(value, dict) else set()

    for key, value in summary.items():
        free = key in ("settings", "software")  # names of settings and of packages
        below = {"value", "source", "sd"} if free and key == "settings" else set() if free else keys(value)
        below -= {names(flag) for flag in Flag}
        undocumented = {name for name in below if f"`{name}`" not in shown}
        assert undocumented == set(), key


def test_every_column_that_the_readme_names_is_written(written):
    readme = section(text_of(ROOT / "README.md"), "## What the columns mean")
    written_somewhere = {generic(c) for name in ("histogram", "particles", "summary") for c in header(written / f"{name}.csv")}
    assert set(in_first_cells(readme)) - {"histogram.csv", "particles.csv", "summary.csv"} <= written_somewhere


def test_every_flag_is_documented():
    assert in_first_cells(section(text_of(DOCS / "formats.md"), "### Flags")) == sorted(
        (names(flag) for flag in Flag),
        key=[
            "unlinked",
            "too_short",
            "immobile",
            "linked_noise",
            "directed",
            "confined",
            "poor_fit",
            "no_motion_resolved",
            "saturated",
        ].index,
    )


def test_every_warning_is_documented():
    code = re.compile(r"(?:Notice|warn)\(\s*\"([a-z_]+)\"")
    given = {found for path in (ROOT / "src" / "nta").rglob("*.py") for found in code.findall(text_of(path))}
    assert given >= {"crowded", "truncated", "exposure_estimated"}
    documented = in_first_cells(section(text_of(DOCS / "formats.md"), "### Warnings"))
    assert documented == sorted(given)


# --- recipes ---


def test_every_key_of_a_recipe_is_documented_with_its_default():
    shown = section(text_of(DOCS / "formats.md"), "## Recipes")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", shown, re.MULTILINE)
    populations = [f.name for f in fields(simulate.Population)]
    assert [name for name, _ in rows] == populations + [f.name for f in fields(simulate.Recipe) if f.name != "populations"]
    recipe = simulate.Recipe(populations=())
    for name, default in rows[len(populations) :]:
        value = getattr(recipe, name)
        if isinstance(value, int | float):
            assert float(default) == value, name
        elif isinstance(value, tuple):
            assert default == str(list(value)), name


def test_the_recipe_and_the_protocol_that_are_shown_can_be_read(tmp_path):
    readme, formats = (re.findall(r"```toml\n(.*?)```", text_of(p), re.DOTALL) for p in (ROOT / "README.md", DOCS / "formats.md"))
    assert (len(readme), len(formats)) == (1, 1)
    recipe = simulate.make_recipe(**tomllib.loads(readme[0]))
    assert [p.diameter_nm for p in recipe.populations] == [80, 200]
    assert [p.fraction for p in recipe.populations] == [0.7, 0.3]
    sop = tmp_path / "sop.toml"
    sop.write_text(formats[0], encoding="utf-8")
    assert Settings.from_toml(sop).chosen == {"min_frames": "sop", "viscosity_mpas": "sop"}


# --- theory ---


def constants_of_the_theory() -> list[tuple[str, str, str]]:
    """Return (module, constant, value as written) of the table of defaults, one a constant."""
    rows = re.findall(
        r"^\| (`[A-Z].*?) \| (.*?) \| (.*?) \|",
        section(text_of(DOCS / "theory.md"), "## 13. Defaults and where they come from"),
        re.MULTILINE,
    )
    found = []
    for cells in rows:
        constants, modules = (re.findall(r"`(\w+)`", cell) for cell in (cells[0], cells[2]))
        values = cells[1].split(", ") if len(constants) > 1 else [cells[1]]
        found += [
            (module, name, value)
            for module in modules
            for name, value in zip(constants, values * (len(constants) // len(values)), strict=True)
        ]
    return found


@pytest.mark.parametrize(("module", "name", "shown"), constants_of_the_theory(), ids=lambda text: text.replace(" ", "_"))
def test_the_constants_in_the_theory_are_those_of_the_code(module, name, shown):
    value = getattr(importlib.import_module(f"nta.{module}"), name)
    if re.fullmatch(r"[\d.e-]+", shown):
        assert float(shown) == value
    elif " ... " in shown:
        assert [float(end) for end in shown.split(" ... ")] == pytest.approx([value[0], value[-1]])
    else:
        assert shown == "section 5"


# --- the pages themselves ---


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)
    links = re.findall(r"(?:\]\(|src=\")([^)\"\s]+)", text)
    for link in links:
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, link


def test_the_modules_of_the_architecture_are_those_that_exist():
    page = text_of(DOCS / "architecture.md")
    house = re.search(r"```\nsrc/nta/\n(.*?)```", page, re.DOTALL)
    assert house
    listed = {line.split()[0] for line in house[1].splitlines() if re.match(r"  \w\S*(\.py|/)\s", line)}
    there = {p.name + ("/" if p.is_dir() else "") for p in (ROOT / "src" / "nta").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert listed == there - {"__pycache__/"}
