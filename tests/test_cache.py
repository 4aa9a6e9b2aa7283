from __future__ import annotations

import gc
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from numba.core import config

import nta.kernels
from nta.cli import cli
from nta.cli.progress import progress_bars
from nta.kernels import cache
from nta.settings import Settings
from nta.spots import find_spots

OTHER = "py310"
TINY = """
from numba import jit
from nta.kernels import JIT

@jit("int64(int64)", **JIT)
def next_one(n):
    return n + 1
"""
RECIPE = """
width_px = 32
height_px = 32
n_frames = 2
pixel_size_um = 0.166
fps = 25
exposure_ms = 15
in_view = 1

[[populations]]
diameter_nm = 110
fraction = 1
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- what is stale ---


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a folder of kernels: `upper` calls `middle` calls `lower`, and `alone` calls nobody."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "__init__.py").write_text("JIT = {}\n")
    (folder / "cache.py").write_text("")
    (folder / "alone.py").write_text("from nta.kernels import JIT\n")
    (folder / "lower.py").write_text("from nta.kernels import JIT\n")
    (folder / "middle.py").write_text("from nta.kernels.lower import f\n")
    (folder / "upper.py").write_text("from nta.kernels import JIT\nfrom nta.kernels.middle import (\n    g,\n)\n")
    return folder


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("alone", {"alone"}),
        ("upper", {"upper"}),
        ("middle", {"middle", "upper"}),
        ("lower", {"lower", "middle", "upper"}),
        ("__init__", {"alone", "lower", "middle", "upper"}),
        ("cache", set()),
    ],
)
def test_a_kernel_is_stale_when_what_it_calls_has_changed(sources, changed, stale):
    before = cache.fingerprints(sources)
    assert before.keys() == {"alone", "lower", "middle", "upper"}
    assert cache.fingerprints(sources) == before
    with (sources / f"{changed}.py").open("a") as file:
        file.write("X = 1\n")
    after = cache.fingerprints(sources)
    assert {module for module in before if after[module] != before[module]} == stale


def test_kernels_of_this_package_know_whom_they_call():
    text = {path.stem: path.read_text() for path in cache.SOURCES.glob("*.py")}
    found = cache.fingerprints(cache.SOURCES)
    assert found.keys() == text.keys() - {"__init__", "cache"}
    # which has none of its own
    assert {*cache.DETECTION, *cache.LINKING, *cache.SIZING, *cache.FILMING, "pixels"} == found.keys()


def test_what_is_stale_is_removed_and_nothing_else(sources, tmp_path):
    folder, here = tmp_path / "folder", cache.PYTHON
    folder.mkdir()
    cache.forget_stale(folder, sources)
    marks = names(folder)
    assert len(marks) == 4
    of_upper = {f"upper.f-1.{here}.nbi", f"upper.f-1.{here}.1.nbc"}
    others = {
        f"alone.f-1.{here}.nbi",
        f"alone.f-1.{here}.12.nbc",
        f"upper.f-1.{OTHER}.nbi",
        f"upper.f-1.{OTHER}.1.nbc",
        "upper.cpython.pyc",
    }
    for name in of_upper | others:
        (folder / name).touch()
    cache.forget_stale(folder, sources)
    assert names(folder) == marks | of_upper | others
    with (sources / "middle.py").open("a") as file:
        file.write("X = 1\n")
    cache.forget_stale(folder, sources)
    assert names(folder) & (of_upper | others) == others
    assert len(names(folder) - others) == 4
    assert len(names(folder) & marks) == 2


# --- the folder ---


def test_the_folder_is_the_one_that_numba_takes(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    folder = cache.find_folder()
    assert folder is not None
    assert folder.parent == tmp_path
    assert len(names(folder)) == len(cache.fingerprints(cache.SOURCES))  # marks


def test_there_is_no_folder_where_none_can_be_written(monkeypatch):
    def nowhere(function):
        raise RuntimeError(f"cannot cache function {function.__name__!r}: no locator available")

    monkeypatch.setattr(cache, "FunctionCache", nowhere)
    assert cache.find_folder() is None


def test_there_is_no_folder_on_a_full_disk_unless_kernels_are_there(monkeypatch, tmp_path):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def write(self, data):
            assert len(data) == cache.ROOM
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "FunctionCache", lambda function: SimpleNamespace(cache_path=str(tmp_path)))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Full())
    assert cache.find_folder() is None
    assert names(tmp_path) == set()
    (tmp_path / f"other.f-1.{cache.PYTHON}.nbi").touch()
    assert cache.find_folder() == tmp_path


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        (cache.SOURCES / "__pycache__", "first run: compiling for some seconds, once"),
        (Path("/home/me/.cache"), f"first run: compiling for some seconds, once; kept in {Path('/home/me/.cache')}"),
        (None, "compiling, in every run: no folder can be written to keep what is compiled; set NUMBA_CACHE_DIR to one that can"),
    ],
    ids=["beside", "elsewhere", "nowhere"],
)
def test_words(monkeypatch, folder, said):
    monkeypatch.setattr(cache, "FOLDER", folder)
    assert cache.words() == said


# --- loading ---


class Log(list[tuple[str, int, int]]):
    def __call__(self, *event):
        self.append(event)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Put a small kernel into the package, and return a function that loads it as a new process would, and returns what was told when."""
    (tmp_path / "tiny.py").write_text(TINY)
    folder = tmp_path / "__pycache__"
    folder.mkdir()
    monkeypatch.setattr(nta.kernels, "__path__", [*nta.kernels.__path__, str(tmp_path)])
    monkeypatch.setitem(nta.kernels.JIT, "cache", True)
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "FOLDER", folder)
    # put back, and taken out, whatever the test does
    monkeypatch.setitem(sys.modules, "nta.kernels.tiny", None)

    def load() -> tuple[Log, Log]:
        sys.modules.pop("nta.kernels.tiny", None)
        importlib.invalidate_caches()
        log = Log()
        loader = cache.Loader("tiny", progress=log)
        early = Log(log)
        loader.load()
        assert sys.modules["nta.kernels.tiny"].next_one(41) == 42
        return early, log

    return load


BEGUN, DONE = ("compile", 0, 1), ("compile", 1, 1)


def test_the_first_run_says_once_and_early_that_it_compiles_and_the_next_says_nothing(tiny):
    assert tiny() == ([BEGUN], [BEGUN, DONE])
    assert tiny() == ([], [])


def test_what_the_folder_hides_is_told_when_it_is_compiled(tiny):
    tiny()
    for code in cache.FOLDER.glob("*.nbc"):
        code.unlink()
    assert tiny() == ([], [BEGUN, DONE])
    assert tiny() == ([], [])


def test_without_a_folder_every_process_compiles_once(tiny, monkeypatch):
    tiny()
    monkeypatch.setattr(cache, "FOLDER", None)
    monkeypatch.setitem(nta.kernels.JIT, "cache", False)
    for _ in range(2):
        assert tiny() == ([BEGUN], [BEGUN, DONE])
    log = Log()
    cache.Loader("tiny", progress=log).load()
    assert log == []


def test_loading_without_a_listener_and_the_collector_as_before(tiny):
    sys.modules.pop("nta.kernels.tiny", None)
    loader = cache.Loader("tiny", progress=None)
    for collects in (True, False):
        (gc.enable if collects else gc.disable)()
        try:
            loader.load()
            assert gc.isenabled() is collects
        finally:
            gc.enable()


def test_the_process_beside_is_told_the_pixels_once(tiny, monkeypatch):
    sys.modules.pop("nta.kernels.tiny", None)
    code = "import sys; print('nta.kernels.tiny'); print(sys.stdin.read(), flush=True)"
    beside = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    monkeypatch.setattr(cache, "_compile_beside", lambda modules: beside)
    monkeypatch.setattr(cache, "BESIDE", ("tiny",))
    with cache.Loader("tiny", "not_loaded_yet", progress=None) as loader:
        loader.load("tiny", pixels="uint16")
        assert beside.stdout.read().split() == [b"uint16"]
    assert beside.returncode is not None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_kernels_for_pixels_are_those_that_a_film_of_them_calls(dtype):
    from nta.kernels.filter import filter_image
    from nta.kernels.pixels import compile_for
    from nta.kernels.shuffle import take_off
    from nta.kernels.still import find_middle

    compile_for(dtype)
    kernels = filter_image, take_off, find_middle
    known = [len(kernel.signatures) for kernel in kernels]
    frames = np.random.default_rng(0).poisson(40, (30, 60, 70)).astype(dtype)
    video = SimpleNamespace(n_frames=30, height=60, width=70, frame_dtype=np.dtype(dtype), ceiling=None, read=lambda i: frames[i])
    find_spots(video, Settings())
    assert [len(kernel.signatures) for kernel in kernels] == known


@pytest.mark.parametrize("loads", [True, False])
def test_nothing_is_left_running(tiny, monkeypatch, loads):
    sys.modules.pop("nta.kernels.tiny", None)
    beside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.PIPE)
    monkeypatch.setattr(cache, "_compile_beside", lambda modules: beside)
    with cache.Loader("tiny", progress=None) as loader:
        if loads:
            loader.load()
    assert beside.returncode is not None
    assert beside.stdout.closed


# --- the command line ---


def test_the_command_line_says_it_once_and_not_when_quiet(monkeypatch, in_tmp_path):
    Path("film.toml").write_text(RECIPE)
    loaded = [f"nta.kernels.{name}" for name in cache.FILMING]
    for name in loaded:
        importlib.import_module(name)
    monkeypatch.setattr(cache, "FOLDER", in_tmp_path)  # empty: as before the first run; numba's own is another

    def stderr(*options: str, first: bool) -> str:
        if first:
            for name in loaded:
                monkeypatch.delitem(sys.modules, name)
        run = CliRunner().invoke(cli, ["simulate", "film.toml", "-o", "film.tif", "--overwrite", *options])
        assert run.exit_code == 0, run.stderr
        return run.stderr

    assert stderr(first=True) == f"nta: first run: compiling for some seconds, once; kept in {in_tmp_path}\n"
    assert stderr(first=False) == ""
    assert stderr("--quiet", first=True) == ""


def test_without_a_terminal_progress_says_only_that_it_compiles(capsys):
    with progress_bars("a video") as progress:
        assert progress is not None
        for event in (("find spots", 0, 2), ("compile", 0, 1), ("compile", 1, 1), ("find spots", 2, 2)):
            progress(*event)
    assert capsys.readouterr().err == f"nta: {cache.words()}\n"
    with progress_bars("a video", quiet=True) as progress:
        assert progress is None


@pytest.mark.parametrize(("cores", "folder", "started"), [(2, True, 1), (1, True, 0), (2, False, 0)])
def test_a_second_processor_compiles_beside_where_there_is_one_and_a_folder(monkeypatch, tmp_path, cores, folder, started):
    calls = []
    monkeypatch.setattr(cache, "FOLDER", tmp_path if folder else None)
    monkeypatch.setattr(cache.os, "sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.setattr(cache.subprocess, "Popen", lambda command, **options: calls.append(command))
    names = ("nta.kernels.link", "nta.kernels.shuffle")
    cache._compile_beside(list(names))
    cache._compile_beside([])
    assert len(calls) == started
    first, last = (
        f"import {name}; {also}; print('{name}', flush=True)" for name, also in zip(names, ("pass", cache.FOR_PIXELS), strict=True)
    )
    assert all(command[1:] == ["-c", f"import gc; gc.disable(); {first}; {last}"] for command in calls)
