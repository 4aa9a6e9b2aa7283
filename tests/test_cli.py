from __future__ import annotations

import csv
import hashlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result
from conftest import FPS, PIXEL_SIZE_UM, tiny_frames
from fake_result import empty_result, fake_result

from nta.cli import cli
from nta.cli.exits import BUG, DATA, INTERRUPTED, SOME_FAILED, TERMINATED, USAGE
from nta.cli.options import KnobType, describe, protocol
from nta.cli.pages import Page, SectionedOption
from nta.cli.simulate import video_path
from nta.errors import Notice, UsageError, VideoError
from nta.kernels.cache import DETECTION, FILMING, LINKING, SIZING, Loader
from nta.settings import KNOBS, Settings

FILES = {"histogram.csv", "particles.csv", "tracks.csv", "frames.csv", "summary.csv", "summary.json", "settings.toml"}
SOURCE = Path(__file__).parents[1] / "src"


def nta(*arguments: str | Path) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def lines(text: str) -> list[str]:
    return text.splitlines()


def command_line(*arguments: str | Path) -> list[str]:
    """Return the command line that runs nta from the sources, as a process of its own."""
    setup = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from nta.cli import main; main()"
    return [sys.executable, "-c", setup, *map(str, arguments)]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """Compile what the commands need: the first run says that it does, which is tested with the cache."""
    Loader(*DETECTION, *LINKING, *SIZING, *FILMING, progress=None).load()


# --- a pipeline that is quick and does as the video's name says ---


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Put a pipeline in place that returns made-up results, and fails for videos with telling names; return its calls."""
    seen: list[dict[str, object]] = []

    def analyze(path, settings=None, *, name=None, threads=None, progress=None, **options):
        seen.append({"path": path, "settings": settings, "name": name, "threads": threads})
        if not Path(path).exists():
            raise UsageError(f"{path}: no such file or folder")
        stem = Path(path).stem
        if stem.startswith("corrupt"):
            raise VideoError(f"{path}: cannot be read\nas a TIFF")
        if stem.startswith("bug"):
            raise ZeroDivisionError("float division by zero")
        if stem.startswith("memory"):
            raise MemoryError
        if stem.startswith("end"):
            raise EOFError("ran out")
        if stem.startswith("interrupt"):
            raise KeyboardInterrupt
        if progress is not None:
            progress("spots", 1, 2)
            progress("spots", 2, 2)
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        make = empty_result if stem.startswith("empty") else fake_result
        notices = (Notice("first", "the first\nwarning"), Notice("second", f"{path}: the second")) if stem.startswith("warned") else ()
        return replace(make(name=name, path=path, sha256=digest, settings=settings), notices=notices)

    monkeypatch.setitem(sys.modules, "nta.pipeline", SimpleNamespace(analyze=analyze))
    return seen


@pytest.fixture
def video(in_tmp_path: Path, write_video: Callable[..., Path]) -> Callable[[str], Path]:
    """Return a function that makes a video of the name given, in the current folder; each has its own content."""
    made: list[str] = []

    def make(name: str) -> Path:
        made.append(name)
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        return write_video(Path(name), tiny_frames(3, seed=len(made)))

    return make


# --- help ---


def pages() -> dict[str, click.Command]:
    return {"": cli, **cli.commands}


@pytest.mark.parametrize("name", pages())
def test_every_command_has_a_page_of_80_columns_with_an_example(name):
    run = nta(*filter(None, [name]), "--help")
    assert run.exit_code == 0
    assert run.stderr == ""
    assert run.stdout.startswith(f"Usage: nta {name}".rstrip())
    assert max(map(len, lines(run.stdout))) <= 80
    assert "\xa0" not in run.stdout
    assert re.search(r"\nExample:\n  .*nta ", run.stdout)
    assert nta(*filter(None, [name]), "-h").stdout == run.stdout


def test_every_option_is_described():
    for command in cli.commands.values():
        for param in command.params:
            if isinstance(param, click.Option):
                assert isinstance(param, SectionedOption), param.name
                assert param.help, param.name
                assert param.help.endswith((".", "]")), param.name


def test_every_knob_is_an_option_with_unit_range_default_and_example():
    text = re.sub(r"\s+", " ", nta("analyze", "--help").stdout)
    for knob in KNOBS.values():
        assert f" {knob.option} " in text
        assert re.sub(r"\s+", " ", describe(knob)) in text
    assert "--pixel-size-um N Size of one pixel in the sample plane. [0.005 to 20 um; default: from the file; e.g. 0.166]" in text
    assert "--polarity auto|bright|dark " in text
    assert "[3 to 10000 frames; default: 5]" in text
    assert "[default: exosome:30-100, microvesicle:100-1000, apoptotic_body:1000-; e.g. small:30-200,large:200-]" in text


def test_sections_stand_in_order():
    found = re.findall(r"^(\w[\w ]*):$", nta("analyze", "--help").stdout, re.MULTILINE)
    assert found == ["Video", "Detection and tracks", "Medium", "Size distribution", "Concentration", "Output", "Run", "Example"]


def test_facts_break_only_between_facts():
    text = "Exposure of a frame. [0 to 100000 ms; default: from the file, else estimated; e.g. 15]"
    option = SectionedOption(["--exposure-ms"], metavar="N", help=text, section="Video")
    page = Page("film", params=[option], example="film").get_help(Page.context_class(Page("film")))
    assert "[0 to 100000 ms; default: from the file, else estimated;\n" in page or "[0 to 100000 ms; default: from the file,\n" in page
    assert re.search(r"\n +e\.g\. 15\]|; e\.g\. 15\]", page)


def test_headings_are_bold_on_a_terminal_unless_no_colour_is_wanted(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1mVideo" in CliRunner().invoke(cli, ["analyze", "--help"], color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in CliRunner().invoke(cli, ["analyze", "--help"], color=True).stdout


def test_errors_are_coloured_on_a_terminal_unless_no_colour_is_wanted(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert CliRunner().invoke(cli, ["analyze"], color=True).stderr.startswith("nta: \x1b[31m\x1b[1merror:\x1b[0m missing argument")
    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(cli, ["analyze"], color=True).stderr.startswith("nta: error: missing argument")


def test_version():
    from nta import __version__

    for option in ("--version", "-V"):
        run = nta(option)
        assert (run.exit_code, run.stdout, run.stderr) == (0, f"nta {__version__}\n", "")


def test_nta_alone_shows_the_help():
    run = nta()
    assert run.exit_code == USAGE
    assert run.stderr.startswith("Usage: nta ")


# --- wrong usage: exit 2, one line ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("frobnicate", "no such command 'frobnicate' (see nta --help)"),
        ("analyze", "missing argument 'VIDEO...' (see nta analyze --help)"),
        ("analyze a.tif --fpss 3", "no such option '--fpss'. Did you mean '--fps'? (see nta analyze --help)"),
        ("analyze a.tif --fps", "option '--fps' requires an argument (see nta analyze --help)"),
        ("analyze a.tif --fps 0", "--fps: 0 is outside 0.01 to 100000 1/s"),
        ("analyze a.tif --fps 0,5", "--fps: '0,5' is not a number (decimals take a point); an example is 25"),
        ("analyze a.tif --polarity grey", "--polarity: 'grey' is not one of auto, bright, dark"),
        ("analyze a.tif --frames 1-5", "--frames: '1-5' is not FIRST:STOP; an example is 0:600"),
        ("analyze a.tif --threads 0", "invalid value for '--threads': 0 is not in the range x>=1 (see nta analyze --help)"),
        ("analyze a.tif --sop nowhere.toml", "--sop: no such file: nowhere.toml"),
        ("analyze a.tif b.tif --name x", "--name: 'x' cannot name 2 videos; give it with a single one"),
        ("analyze a.tif --name x/y", "--name: 'x/y' is not the name of a folder; --output says where it is"),
        ("analyze a.tif --name ..", "--name: '..' is not the name of a folder; --output says where it is"),
        ("analyze missing.tif", "missing.tif: no such file or folder"),
        ("completion csh", "invalid value for '{bash|zsh|fish}': 'csh' is not one of 'bash', 'zsh', 'fish'"),
        ("simulate", "missing argument 'RECIPE' (see nta simulate --help)"),
        ("simulate nowhere.toml", "no such recipe: nowhere.toml"),
    ],
)
def test_wrong_usage_is_one_line(arguments, message, calls, in_tmp_path):
    run = nta(*shlex.split(arguments))
    assert run.exit_code == USAGE
    assert run.stdout == ""
    assert lines(run.stderr) == [run.stderr.rstrip("\n")]
    assert run.stderr.startswith(f"nta: error: {message}")
    assert os.listdir() == []


def test_two_videos_of_one_name_are_refused_before_any_work(calls, video):
    run = nta("analyze", video("day1/s1.tif"), video("day2/s1.tif"), video("s2.tif"))
    assert run.exit_code == USAGE
    assert lines(run.stderr) == [
        "nta: error: day1/s1.tif and day2/s1.tif would both be named 's1'; analyse them in two calls, with another --name or -o"
    ]
    assert calls == []
    assert not Path("nta_results").exists()


# --- one video ---


def test_one_video(calls, video):
    run = nta("analyze", video("s 1.ome.tif"), "--pixel-size-um", "0.2", "--fps", "25", "--threads", "2")
    assert run.exit_code == 0
    assert run.stderr == ""
    assert calls[0]["path"] == "s 1.ome.tif"
    assert calls[0]["name"] == "s 1"
    assert calls[0]["threads"] == 2
    assert calls[0]["settings"] == Settings().with_options(pixel_size_um=0.2, fps=25)
    assert set(os.listdir("nta_results")) == {"s 1"}
    assert set(os.listdir("nta_results/s 1")) == FILES | {"figure.png", "figure.svg", "figure.pdf", "report.html"}
    assert "D50" in run.stdout
    assert lines(run.stdout)[-2:] == [
        f"figure     {Path('nta_results/s 1/figure.png')}",
        f"histogram  {Path('nta_results/s 1/histogram.csv')}",
    ]
    assert run.stdout == "".join(line.rstrip() + "\n" for line in lines(run.stdout))
    assert run.stdout.isascii()


def test_output_and_name_and_no_figure_and_no_report(calls, video):
    run = nta("analyze", video("a.tif"), "-o", "out/deep", "--name", "mine", "--no-figure", "--no-report")
    assert run.exit_code == 0
    assert calls[0]["name"] == "mine"
    assert set(os.listdir("out/deep/mine")) == FILES
    assert "figure" not in run.stdout
    assert lines(run.stdout)[-1] == f"histogram  {Path('out/deep/mine/histogram.csv')}"


def test_no_particles_is_done(calls, video):
    run = nta("analyze", video("empty.tif"), "--no-figure", "--no-report")
    assert run.exit_code == 0
    assert json.loads(Path("nta_results/empty/summary.json").read_text())["counts"]["tracks"] == 0


def test_json_is_one_line_and_all_there_is_on_stdout(calls, video):
    run = nta("analyze", video("a.tif"), "--json", "--no-figure", "--no-report")
    assert run.exit_code == 0
    assert len(lines(run.stdout)) == 1
    assert json.loads(run.stdout) == json.loads(Path("nta_results/a/summary.json").read_text())


def test_quiet_leaves_the_warnings(calls, video):
    run = nta("analyze", video("warned.tif"), "--quiet", "--no-figure", "--no-report")
    assert run.exit_code == 0
    assert run.stdout == ""
    assert lines(run.stderr) == ["nta: warning: the first warning", "nta: warning: warned.tif: the second"]


def test_verbose_lists_values_with_sources_and_times(calls, video):
    run = nta("analyze", video("a.tif"), "--verbose", "--quiet", "--no-figure", "--no-report", "--fps", "25")
    assert run.exit_code == 0
    assert re.search(r"^nta: \w+: \w+ = .* \((option|measured|file|default|assumed)\)$", run.stderr, re.MULTILINE)
    assert re.search(r"^nta: spots: \d+\.\d\d s$", run.stderr, re.MULTILINE)
    assert re.search(r"^nta: write: \d+\.\d\d s$", run.stderr, re.MULTILINE)


def test_same_video_again_replaces_and_another_does_not_unless_told(calls, video):
    quick = ("--no-figure", "--no-report", "--name", "x")
    first, second = video("a.tif"), video("b.tif")
    assert nta("analyze", first, *quick).exit_code == 0
    assert nta("analyze", first, *quick).exit_code == 0
    before = Path("nta_results/x/summary.json").read_bytes()
    run = nta("analyze", second, *quick)
    assert run.exit_code == USAGE
    assert lines(run.stderr) == [
        f"nta: error: {Path('nta_results/x')} holds the result of a.tif; give another -o or --name (or --overwrite)"
    ]
    assert len(calls) == 2, "refused before the work"
    assert Path("nta_results/x/summary.json").read_bytes() == before
    assert nta("analyze", second, *quick, "--overwrite").exit_code == 0
    assert Path("nta_results/x/summary.json").read_bytes() != before


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_what_nta_did_not_write_is_never_touched(calls, video, overwrite):
    Path("nta_results/a").mkdir(parents=True)
    Path("nta_results/a/thesis.txt").write_text("years of work")
    run = nta("analyze", video("a.tif"), *overwrite)
    assert run.exit_code == USAGE
    assert lines(run.stderr) == [f"nta: error: {Path('nta_results/a')} was not written by nta and is left alone; give another -o or --name"]
    assert calls == []
    assert os.listdir("nta_results/a") == ["thesis.txt"]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("corrupt.tif", DATA, "corrupt.tif: cannot be read as a TIFF"),
        ("memory.tif", DATA, "not enough memory; --frames or --roi make the video smaller"),
        ("bug.tif", BUG, "this is a bug in nta; --debug shows it (ZeroDivisionError: float division by zero)"),
        ("end.tif", BUG, "this is a bug in nta; --debug shows it (EOFError: ran out)"),
    ],
)
def test_failures_are_one_line_and_a_traceback_only_with_debug(calls, video, name, code, message):
    run = nta("analyze", video(name))
    assert run.exit_code == code
    assert run.stdout == ""
    assert lines(run.stderr) == [f"nta: error: {message}"]
    assert not Path("nta_results").exists()
    debugged = nta("analyze", name, "--debug")
    assert debugged.exit_code == code
    assert debugged.stderr.startswith("Traceback (most recent call last):\n")
    assert lines(debugged.stderr)[-1] == f"nta: error: {message}"


def test_a_place_that_cannot_be_written(calls, video):
    Path("results").write_text("a file")
    run = nta("analyze", video("a.tif"), "-o", "results", "--no-figure", "--no-report")
    assert run.exit_code in (DATA, USAGE)
    assert re.fullmatch(r"nta: error: results.*a: .*; give another -o.*\n", run.stderr)
    assert Path("results").read_text() == "a file"


def test_interrupt(calls, video):
    run = nta("analyze", video("interrupt.tif"))
    assert run.exit_code == INTERRUPTED
    assert lines(run.stderr) == ["nta: stopped"]
    assert not Path("nta_results").exists()


# --- several videos ---


def test_several_videos_one_failing_does_not_lose_the_others(calls, video):
    videos = [video("a b.tif"), video("corrupt.tif"), video("bug.tif"), "missing.tif", video("warned.tif")]
    run = nta("analyze", *videos, "-o", "out", "--no-figure", "--no-report")
    assert run.exit_code == SOME_FAILED
    assert lines(run.stderr) == [
        "nta: error: corrupt.tif: cannot be read as a TIFF",
        "nta: error: bug.tif: this is a bug in nta; --debug shows it (ZeroDivisionError: float division by zero)",
        "nta: error: missing.tif: no such file or folder",
        "nta: warning: warned.tif: the first warning",
        "nta: warning: warned.tif: the second",
    ]
    assert set(os.listdir("out")) == {"a b", "warned", "summary.csv"}
    assert lines(run.stdout)[-1] == f"2 of 5 videos analysed: {Path('out/summary.csv')}"
    with open("out/summary.csv", newline="", encoding="utf-8") as file:
        rows = {row["video"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"a b", "corrupt", "bug", "missing", "warned"}
    assert rows["a b"]["error"] == ""
    assert float(rows["a b"]["d50_nm"]) > 0
    assert rows["missing"]["error"] == "missing.tif: no such file or folder"
    assert rows["missing"]["d50_nm"] == ""


def test_several_videos_all_well(calls, video):
    run = nta("analyze", video("a.tif"), video("b.tif"), "--json", "--no-figure", "--no-report")
    assert run.exit_code == 0
    assert [json.loads(line)["input"]["path"] for line in lines(run.stdout)] == ["a.tif", "b.tif"]
    assert Path("nta_results/summary.csv").read_text().count("\n") == 3


def test_interrupt_between_videos_keeps_what_is_done(calls, video):
    run = nta("analyze", video("a.tif"), video("interrupt.tif"), video("c.tif"), "--no-figure", "--no-report")
    assert run.exit_code == INTERRUPTED
    assert [call["path"] for call in calls] == ["a.tif", "interrupt.tif"]
    assert os.listdir("nta_results") == ["a"]


def test_a_summary_table_that_is_not_ours_is_refused_before_the_work(calls, video):
    Path("nta_results").mkdir()
    Path("nta_results/summary.csv").write_text("my,own\n")
    run = nta("analyze", video("a.tif"), video("b.tif"))
    assert run.exit_code == USAGE
    assert "was not written by nta" in run.stderr
    assert calls == []


# --- protocols ---


def test_options_beat_the_protocol(calls, video):
    Path("sop.toml").write_text("[video]\nfps = 25\npolarity = 'dark'\n[distribution]\nlog_bins = true\n")
    run = nta(
        "analyze",
        video("a.tif"),
        "--sop",
        "sop.toml",
        "--fps",
        "30",
        "--polarity",
        "auto",
        "--no-log-bins",
        "-q",
        "--no-figure",
        "--no-report",
    )
    assert run.exit_code == 0
    settings = calls[0]["settings"]
    assert settings.chosen == {"fps": "option", "log_bins": "option"}
    assert (settings.value("fps"), settings.value("polarity"), settings.value("log_bins")) == (30.0, None, False)


def test_a_flag_not_given_leaves_the_protocol_alone(tmp_path):
    path = tmp_path / "sop.toml"
    path.write_text("[distribution]\nlog_bins = true\n")
    assert protocol(str(path), {"log_bins": None, "fps": None}).chosen == {"log_bins": "sop"}


# --- completion ---


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script(shell):
    run = nta("completion", shell)
    assert run.exit_code == 0
    assert f"_NTA_COMPLETE={shell}_complete" in run.stdout
    assert f'eval "$(nta completion {shell})"' in nta("completion", "--help").stdout or shell == "fish"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("nta ana", ["plain,analyze"]),
        ("nta analyze --pix", ["plain,--pixel-size-um"]),
        ("nta analyze --polarity ", ["plain,auto", "plain,bright", "plain,dark"]),
        ("nta analyze --polarity d", ["plain,dark"]),
        ("nta analyze --fps 0 --no-f", ["plain,--no-figure"]),
        ("nta analyze vid", ["file,vid"]),
    ],
)
def test_completion_completes(words, expected, monkeypatch):
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    run = CliRunner().invoke(cli, [], env={"_NTA_COMPLETE": "bash_complete"}, complete_var="_NTA_COMPLETE")
    assert run.exit_code == 0
    assert sorted(lines(run.stdout)) == expected


def test_metavars():
    context = click.Context(cli)
    option = click.Option(["--x"])
    shown = {
        name: KnobType(KNOBS[name]).get_metavar(option, context)
        for name in ("fps", "seed", "medium", "channel", "frames", "roi", "classes")
    }
    assert shown == {
        "fps": "N",
        "seed": "N",
        "medium": "NAME[:AMOUNT]",
        "channel": "auto|r|g|b",
        "frames": "FIRST:STOP",
        "roi": "X,Y,W,H",
        "classes": "CLASSES",
    }


# --- simulate ---

RECIPE = """\
width_px = 48
height_px = 40
n_frames = 4
in_view = 3.0
[[populations]]
diameter_nm = 100.0
"""


def test_simulate_writes_video_and_truth_the_same_for_the_same_seed(in_tmp_path):
    import tifffile

    Path("film.toml").write_text(RECIPE)
    run = nta("simulate", "film.toml", "--seed", "3")
    assert run.exit_code == 0
    assert run.stderr == ""
    assert set(lines(run.stdout)) == {"film.tif", "film_truth.json", "film_truth.csv"}
    assert tifffile.imread("film.tif").shape == (4, 40, 48)
    assert nta("simulate", "film.toml", "--seed", "3", "-o", "again.tif", "-q").stdout == ""
    assert nta("simulate", "film.toml", "--seed", "4", "-o", "sub/other", "-q").exit_code == 0
    assert Path("again.tif").read_bytes() == Path("film.tif").read_bytes()
    assert Path("sub/other.tif").read_bytes() != Path("film.tif").read_bytes()


def test_simulate_replaces_only_when_told(in_tmp_path):
    Path("film.toml").write_text(RECIPE)
    Path("film_truth.csv").write_text("mine")
    run = nta("simulate", "film.toml")
    assert run.exit_code == USAGE
    assert lines(run.stderr) == ["nta: error: --output: film_truth.csv is there already; give another -o or --overwrite"]
    assert set(os.listdir()) == {"film.toml", "film_truth.csv"}
    assert nta("simulate", "film.toml", "--overwrite").exit_code == 0
    assert Path("film_truth.csv").read_text() != "mine"


def test_simulate_where_nothing_can_be_written(in_tmp_path):
    Path("film.toml").write_text(RECIPE)
    Path("file").write_text("")
    run = nta("simulate", "film.toml", "-o", "file/x.tif")
    assert run.exit_code == DATA
    assert re.fullmatch(r"nta: error: file.x.tif: cannot be written \(.+\); give another -o\n", run.stderr)


def test_simulate_output(tmp_path):
    assert video_path(None, "film") == Path("film")
    assert video_path("x.avi", "film") == Path("x.avi")
    assert video_path(str(tmp_path), "film") == tmp_path / "film"
    assert video_path("new/", "film") == Path("new/film")


# --- as a process ---


def test_python_m_nta():
    run = subprocess.run(
        [sys.executable, "-m", "nta", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    assert run.stdout.startswith("nta ")


SLOW = """
import sys, time, types
sys.path.insert(0, {source!r})
def analyze(path, settings, *, name, threads, progress):
    print("at work", flush=True)
    try:
        while True:
            time.sleep(0.01)
    except Exception:
        print("caught", flush=True)
sys.modules["nta.pipeline"] = types.SimpleNamespace(analyze=analyze)
from nta.cli import main
main()
"""


def stop_at_work(folder: Path, number: int, stderr: int) -> tuple[int, str, str | None]:
    """Start an endless analysis, send it a signal, and return its exit status, stdout and stderr."""
    arguments = [sys.executable, "-c", SLOW.format(source=str(SOURCE)), "analyze", "a.tif"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder) as process:
        try:
            first = process.stdout.readline()
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, first + out, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)], ids=["SIGINT", "SIGTERM"])
def test_signals_stop_it(tmp_path, number, code):
    assert stop_at_work(tmp_path, number, subprocess.PIPE) == (code, "at work\n", "nta: stopped\n")
    assert os.listdir(tmp_path) == []


def test_interrupt_on_a_terminal_ends_by_the_signal_so_that_a_shell_loop_ends_too(tmp_path):
    master, terminal = pty.openpty()
    try:
        assert stop_at_work(tmp_path, signal.SIGINT, terminal)[:2] == (-signal.SIGINT, "at work\n")
    finally:
        os.close(master)
        os.close(terminal)


def test_a_reader_that_goes_away_does_not_stop_the_analysis(calls, video, tmp_path):
    video("film.tif")
    Path("film.toml").write_text(RECIPE)
    command = shlex.join(command_line("simulate", "film.toml", "--overwrite"))
    run = subprocess.run(
        ["bash", "-c", f"set -o pipefail; ({command}; echo $? >code) | true"], capture_output=True, text=True, timeout=100, check=False
    )
    assert run.stderr == ""
    assert Path("code").read_text() == "0\n"


# --- the whole way, on a small video ---


def test_analyze_a_small_video(tiny_video, in_tmp_path):
    run = nta("analyze", tiny_video, "-o", "out")
    assert run.exit_code == 0, run.stderr
    summary = json.loads(Path("out/tiny/summary.json").read_text())
    assert summary["input"]["frames"] == 40
    assert summary["calibration"]["pixel_size_um"]["value"] == pytest.approx(PIXEL_SIZE_UM, rel=1e-6)
    assert summary["calibration"]["fps"] == {"value": pytest.approx(FPS, rel=1e-6), "source": "file", "sd": pytest.approx(0)}
    # 8 walk about; a rim of 4 px, a quarter of the field, is not searched
    assert 4.5 <= summary["counts"]["spots_per_frame"] <= 8
    assert set(os.listdir("out/tiny")) >= FILES | {"figure.png", "report.html"}
    assert "D50" in run.stdout


def test_the_same_bytes_for_any_number_of_threads(tiny_video, in_tmp_path):
    for threads, folder in (("1", "one"), ("2", "two"), ("1", "again")):
        run = nta("analyze", tiny_video, "-o", folder, "--threads", threads, "-q")
        assert run.exit_code == 0, run.stderr
    names = os.listdir("one/tiny")
    assert set(names) >= FILES | {"figure.png", "figure.svg", "figure.pdf"}
    for name in names:
        assert Path("one/tiny", name).read_bytes() == Path("two/tiny", name).read_bytes() == Path("again/tiny", name).read_bytes(), name


def test_settings_of_a_result_are_a_protocol(tiny_video, in_tmp_path):
    assert nta("analyze", tiny_video, "-o", "one", "-q", "--min-frames", "4", "--no-figure", "--no-report").exit_code == 0
    run = nta("analyze", tiny_video, "-o", "two", "-q", "--sop", "one/tiny/settings.toml", "--no-figure", "--no-report")
    assert run.exit_code == 0, run.stderr
    assert Path("one/tiny/particles.csv").read_bytes() == Path("two/tiny/particles.csv").read_bytes()
    assert json.loads(Path("two/tiny/summary.json").read_text())["settings"]["tracks"]["min_frames"]["source"] == "sop"


@pytest.mark.parametrize(
    ("given", "named"),
    [((), ["--pixel-size-um", "--fps"]), (("--fps", "25"), ["--pixel-size-um"]), (("--pixel-size-um", "0.2"), ["--fps"])],
)
def test_pixel_size_and_frame_rate_are_never_guessed(bare_video, in_tmp_path, given, named):
    run = nta("analyze", bare_video, *given)
    assert run.exit_code == USAGE
    assert len(lines(run.stderr)) == 1
    for option in ("--pixel-size-um", "--fps"):
        assert (option in run.stderr) == (option in named)
    assert os.listdir() == []


def test_black_video_is_done_with_zero_counts_and_a_warning(in_tmp_path, write_video):
    write_video(Path("black.tif"), tiny_frames(30) * 0)
    run = nta("analyze", "black.tif", "-o", "out")
    assert run.exit_code == 0, run.stderr
    assert "nta: warning: " in run.stderr
    summary = json.loads(Path("out/black/summary.json").read_text())
    assert summary["counts"]["spots"] == summary["counts"]["tracks"] == 0
    assert summary["size_nm"]["d50"]["value"] is None
    assert summary["warnings"]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path, write: path.write_text("not a video"), DATA),
        (lambda path, write: path.write_bytes(b"II*\0" + bytes(200)), DATA),
        (lambda path, write: write(path, tiny_frames(1)), DATA),
        (lambda path, write: None, USAGE),
        (lambda path, write: path.mkdir(), USAGE),
    ],
    ids=["text", "garbage", "one frame", "missing", "folder without images"],
)
def test_what_is_no_video(in_tmp_path, write_video, make, code):
    make(Path("a.tif"), write_video)
    before = os.listdir()
    run = nta("analyze", "a.tif", "--fps", "25", "--pixel-size-um", "0.2")
    assert run.exit_code == code
    assert run.stdout == ""
    assert len(lines(run.stderr)) == 1
    assert re.match(r"nta: error: .*a\.tif", run.stderr)
    assert os.listdir() == before


def test_shell_loop_over_a_folder_with_a_corrupt_file_and_names_with_spaces(in_tmp_path, write_video):
    Path("videos").mkdir()
    write_video(Path("videos/day 1.tif"), tiny_frames(25), calibrated=False)
    Path("videos/bad.tif").write_bytes(b"II*\0 corrupt")
    command = shlex.join(command_line("analyze")) + ' "$video" -o results --pixel-size-um 0.25 --fps 30 --no-figure --no-report --quiet'
    loop = f'for video in videos/*.tif; do {command}; echo "$video: $?"; done'
    run = subprocess.run(["bash", "-c", loop], capture_output=True, text=True, timeout=100, check=True)
    assert lines(run.stdout) == ["videos/bad.tif: 1", "videos/day 1.tif: 0"]
    assert "Traceback" not in run.stderr
    assert [line for line in lines(run.stderr) if not line.startswith("nta: ")] == []
    assert os.listdir("results") == ["day 1"]


def test_progress_is_drawn_on_a_terminal_only(tiny_video, in_tmp_path):
    master, terminal = pty.openpty()
    with subprocess.Popen(
        command_line("analyze", tiny_video, "--no-figure", "--no-report"),
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    ) as process:
        os.close(terminal)
        drawn = b""
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            try:
                piece = os.read(master, 65536)
            except OSError:  # Linux says so when the other side has closed
                break
            if not piece:
                break
            drawn += piece
        out = process.stdout.read()
    os.close(master)
    assert process.returncode == 0, drawn
    assert "D50" in out
    assert "\x1b" not in out
    assert b"40/40" in drawn
    assert b"/s" in drawn
