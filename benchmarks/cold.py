"""What the first run after installation costs: kernels to compile, and imports.

``python benchmarks/cold.py [--repeats 3]`` prints Markdown tables: wall of ``nta analyze`` of the sample video with an empty cache of
compiled kernels and with a full one, of ``nta --help``, of imports, and the seconds that each kernel takes to compile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench
from bench import say

SAMPLE = Path(__file__).parents[1] / "sample_data" / "ev_sample.tif"

COMPILE = """
import importlib, pkgutil, time
from numba.core import event

class Listener(event.Listener):
    def __init__(self):
        self.open, self.own = [], {}
    def on_start(self, e):
        self.open.append([time.process_time(), 0.0])
    def on_end(self, e):
        begun, inner = self.open.pop()
        took = time.process_time() - begun
        if self.open:
            self.open[-1][1] += took
        f = e.data["dispatcher"].py_func
        name = f"{f.__module__}.{f.__qualname__}"
        self.own[name] = self.own.get(name, 0.0) + took - inner

listener = Listener()
event.register("numba:compile", listener)
import nta.kernels
begun = time.process_time()
for module in pkgutil.iter_modules(nta.kernels.__path__, "nta.kernels."):
    importlib.import_module(module.name)
print("all", time.process_time() - begun)
for name, seconds in listener.own.items():
    if name.startswith("nta."):
        print(name, seconds)
"""


def wall_s(command: list[str], cache: Path, repeats: int = 1) -> float:
    """Return the median seconds of a command, with its cache of compiled kernels in a folder."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "NUMBA_CACHE_DIR": str(cache)})
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="of what is not a first run")
    repeats = parser.parse_args().repeats
    say(bench.environment())
    python, nta = [sys.executable, "-c"], [sys.executable, "-m", "nta"]
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        analyze = [*nta, "analyze", str(SAMPLE), "--output", str(Path(scratch) / "result"), "--overwrite"]
        say(bench.head("what", "wall, s"))
        cold = wall_s(analyze, cache)
        say(bench.row("`nta analyze sample_data/ev_sample.tif`, the first time", f"{cold:.2f}"))
        warm = wall_s(analyze, cache, repeats)
        say(bench.row("the same, once compiled", f"{warm:.2f}"))
        say(bench.row("the first time costs more by", f"{cold - warm:.2f}"))
        say(bench.row("`nta --help`", f"{wall_s([*nta, '--help'], cache, repeats):.2f}"))
        for text in ("pass", "import nta", "import nta.pipeline", "import numba", "import trackpy"):
            say(bench.row(f'`python -c "{text}"`', f"{wall_s([*python, text], cache, repeats):.2f}"))
        env = {**os.environ, "NUMBA_CACHE_DIR": str(Path(scratch) / "fresh")}
        told = subprocess.run([*python, COMPILE], check=True, capture_output=True, text=True, env=env).stdout
    say(f"\n{bench.head('kernel', 'CPU to compile, s')}")
    rows = [(float(seconds), name) for name, seconds in (line.split() for line in told.splitlines())]
    for seconds, name in sorted(rows, reverse=True):
        say(bench.row(name, f"{seconds:.2f}"))


if __name__ == "__main__":
    main()
