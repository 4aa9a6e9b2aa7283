"""Compiled kernels on disk: where they are kept, which of them are stale, and word of it where some have to be compiled.

numba keeps a kernel in ``NUMBA_CACHE_DIR`` where that is set, else beside its source, else in the user's cache folder: the first of these
that can be written. That the kernel is fresh, it tells by the file that the kernel stands in; what it calls may stand in another.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from numba.core import event
from numba.core.caching import FunctionCache

SOURCES = Path(__file__).parent
PYTHON = f"py{sys.version_info[0]}{sys.version_info[1]}"  # as numba has it in its names; Pythons may share a folder
ROOM = 8 << 20  # bytes; twice what all kernels take
DETECTION = ("window", "fit", "pairs", "spots", "doubles", "still", "filter", "maxima", "frame", "shuffle")
LINKING, SIZING, FILMING = ("choice", "link"), ("likelihood", "tracks", "regimes"), ("render", "camera")
"""The modules that a stage needs, in the order in which they are compiled."""
BESIDE = ("filter", "maxima", "shuffle", *LINKING, *SIZING)
"""Those that another process compiles meanwhile; what these take kernels from comes before them, or soonest in the order above."""
FOR_PIXELS = "from nta.kernels import pixels; import sys; (met := sys.stdin.readline().strip()) and pixels.compile_for(met)"
"""What it does before it says that it has the last of `DETECTION`; `Loader.load` tells it which pixels are met."""


def find_folder() -> Path | None:
    """Return the folder in which numba keeps the kernels; None where no folder can be written, or the disk is full."""
    try:
        folder = Path(FunctionCache(find_folder).cache_path)
        if not any(name.endswith(f".{PYTHON}.nbi") for name in os.listdir(folder)):
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(ROOM))
        forget_stale(folder, SOURCES)
    except (OSError, RuntimeError):  # numba's own error where it finds no folder
        return None
    return folder


def forget_stale(folder: Path, sources: Path) -> None:
    """Remove from `folder` what was compiled of sources that have changed, their own or those of kernels they call."""
    for module, digest in fingerprints(sources).items():
        mark = folder / f"{module}.{PYTHON}.{digest}"
        if not mark.exists():
            for pattern in (f"{module}.*.{PYTHON}.*nb[ic]", f"{module}.{PYTHON}.*"):
                for old in folder.glob(pattern):
                    old.unlink(missing_ok=True)
            mark.touch()


def fingerprints(sources: Path) -> dict[str, str]:
    """Return for each module of kernels a digest of its source, of those it takes kernels from, and of the options of all."""
    text = {path.stem: path.read_bytes() for path in sorted(sources.glob("*.py"))}
    found = {}
    for module in text.keys() - {"__init__", "cache"}:
        needed = ["__init__", module]
        for name in needed:
            needed += [n for n in map(bytes.decode, re.findall(rb"^from nta\.kernels\.(\w+) import", text[name], re.M)) if n not in needed]
        found[module] = hashlib.sha256(b"\0".join(text[name] for name in needed)).hexdigest()[:16]
    return found


FOLDER = find_folder()


def words() -> str:
    """Return what to say of a run that compiles: whether the next one has to, and where the kernels are kept unless beside the source."""
    if FOLDER is None:
        return "compiling, in every run: no folder can be written to keep what is compiled; set NUMBA_CACHE_DIR to one that can"
    place = "" if FOLDER == SOURCES / "__pycache__" else f"; kept in {FOLDER}"
    return f"first run: compiling for some seconds, once{place}"


class Loader:
    """Loads kernels, those of some `modules`; ``progress("compile", 0, 1)`` is called once, as early as possible, where some are missing.

    What cannot be told by the look of the folder, such as another processor, is told when it is compiled. As a context it leaves nothing
    running behind.
    """

    def __init__(self, *modules: str, progress: Callable[[str, int, int], None] | None) -> None:
        self._modules = [f"nta.kernels.{module}" for module in modules]
        self._progress = progress
        self._told = self._done = False
        self._compiled: set[str] = set()
        there = os.listdir(FOLDER) if FOLDER is not None else []
        known = {name.partition(".")[0] for name in there if name.endswith(f".{PYTHON}.nbi")}
        missing = [name for name in self._modules if name.rpartition(".")[2] not in known and name not in sys.modules]
        self._helper = _compile_beside([name for name in map("nta.kernels.{}".format, BESIDE) if name in missing])
        if missing:
            self.tell()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        """End the process beside, which has told all or will not be asked; what it has compiled is kept."""
        if self._helper is not None:
            with self._helper as helper:
                helper.kill()
            self._helper = None

    def tell(self) -> None:
        """Say that kernels are compiled, unless it was said."""
        if not self._told and self._progress is not None:
            self._progress("compile", 0, 1)
        self._told = True

    def load(self, *modules: str, pixels: str = "") -> None:
        """Import the modules, some or all: what is compiled is loaded, what is not is compiled; beside, for the type of `pixels` too."""
        some = [f"nta.kernels.{module}" for module in modules] or self._modules
        if self._helper is not None and self._helper.stdin is not None and not self._helper.stdin.closed:
            with suppress(BrokenPipeError), self._helper.stdin:
                self._helper.stdin.write(f"{pixels}\n".encode())
        with event.install_listener("numba:compile", _Listener(self)), _no_collection():
            for module in some:
                if module not in sys.modules:
                    self._wait_for(module)
                importlib.import_module(module)
        if all(module in sys.modules for module in self._modules):
            self._close()
        if self._told and not self._done and self._progress is not None:
            self._progress("compile", 1, 1)
            self._done = True

    def _wait_for(self, module: str) -> None:
        """Wait until the process beside has compiled a module, if it does, or has ended."""
        if self._helper is None or self._helper.stdout is None or module.rpartition(".")[2] not in BESIDE:
            return
        while module not in self._compiled:
            line = self._helper.stdout.readline()
            if not line:
                break
            self._compiled.add(line.decode().strip())


def _compile_beside(modules: list[str]) -> subprocess.Popen[bytes] | None:
    """Start a process that compiles modules into the folder, on another processor than this one; None where there is no use in it.

    It writes the name of each when that is done.

    The compiler lets one thread in at a time. What the process fails at, this one does itself.
    """
    if not modules or FOLDER is None or len(os.sched_getaffinity(0)) < 2 or not sys.executable or getattr(sys, "frozen", False):
        return None
    code = ["import gc; gc.disable()"]  # as in `_no_collection`
    for module in modules:
        code += [f"import {module}", FOR_PIXELS if module.endswith(DETECTION[-1]) else "pass", f"print('{module}', flush=True)"]
    command, pipe = [sys.executable, "-c", "; ".join(code)], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage in what the compiler builds; a tenth of its time goes there."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class _Listener(event.Listener):
    """Tells of the first kernel that is compiled."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def on_start(self, event: event.Event) -> None:
        if event.data["dispatcher"].py_func.__module__.startswith("nta."):
            self._loader.tell()

    def on_end(self, event: event.Event) -> None:
        pass
