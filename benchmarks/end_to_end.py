"""From a video to sizes: nta against the script that trackpy's users write, and what memory a longer film takes.

``python benchmarks/end_to_end.py [--quick] [--keep FOLDER] [--repeats 3] [--part time memory]`` prints Markdown tables. *Time*: a film
of 749 frames, 1280x1024, 8 bit, 110 particles in view, the recipe `bright_ev` otherwise, as cameras write it, and deflated; each in a
process of its own that is warm, in turns. The script: `trackpy.batch` in one process, `link`, `filter_stubs`, `imsd`, and a line through
each particle's first lags.
*Memory*: 320x240, 40 in view, of once, three and ten times the length. ``--keep`` leaves the films to be used again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench
import numpy as np
import script
import tifffile
from bench import say

import nta
from nta.simulate import write_video
from nta.validate import find_recipe

SAMPLE = Path(__file__).parents[1] / "sample_data" / "ev_sample.tif"
MINMASS = 150  # what somebody who looked at a few frames would choose
LENGTHS = (1, 3, 10)
COLUMNS = (
    "film",
    "who",
    "runs",
    "CPU, s",
    "wall, s",
    "trackpy CPU / its",
    "spots",
    "tracks sized",
    "D50, nm",
    "peak memory, MB",
    "CPU by stage, s",
)


def run_nta(path: Path, threads: int) -> dict[str, Any]:
    """Return seconds by stage, and spots and D50, of a process that ran nta once before."""
    nta.analyze(SAMPLE, threads=threads)
    stages: dict[str, float] = {}
    begun, wall = time.process_time(), time.perf_counter()
    last = begun

    def note(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.process_time()
        stages[stage] = stages.get(stage, 0.0) + now - last
        last = now

    result = nta.analyze(path, threads=threads, progress=note)
    stages["notices"] = time.process_time() - last
    d50 = result.distribution.statistic("d50").value
    seconds = {"cpu_s": time.process_time() - begun, "wall_s": time.perf_counter() - wall}
    return {**seconds, "stages": stages, "spots": len(result.spots), "d50": d50, "tracks": result.counts()["tracks_sized"]}


def run_trackpy(path: Path, threads: int) -> dict[str, Any]:
    """Return the same of trackpy; `threads` is not used."""
    import trackpy

    trackpy.quiet()
    warm = np.random.default_rng(0).poisson(20, (2, 100, 100)).astype(np.uint8)
    trackpy.link(trackpy.batch(warm, script.DIAMETER, processes=1), 2)
    stages: dict[str, float] = {}
    begun, wall = time.process_time(), time.perf_counter()

    def done(stage: str) -> None:
        stages[stage] = time.process_time() - begun - sum(stages.values())

    spots, nm = script.size_by_script(path, find_recipe("bright_ev"), MINMASS, done)
    seconds = {"cpu_s": time.process_time() - begun, "wall_s": time.perf_counter() - wall}
    return {**seconds, "stages": stages, "spots": spots, "d50": float(np.median(nm)), "tracks": len(nm)}


def timing(folder: Path, options: argparse.Namespace) -> None:
    """Print seconds of both, and their ratio."""
    recipe = replace(find_recipe("bright_ev"), name="end_to_end", width_px=1280, height_px=1024, n_frames=749, in_view=110.0)
    if options.quick:
        recipe = replace(recipe, name="end_to_end_quick", n_frames=60)
    deflated = _film(recipe, folder)
    present = json.loads(deflated.with_name(f"{deflated.stem}_truth.json").read_text())["present"]["d50_nm"]
    say(f"{recipe.n_frames} frames; D50 of the particles present {present:.1f} nm.\n")
    say(bench.head(*COLUMNS))
    for kind, path in (("plain", _plain(deflated)), ("deflated", deflated)):
        _time(f"{kind}, {path.stat().st_size / 1e6:.0f} MB", path, options)


def _time(film: str, path: Path, options: argparse.Namespace) -> None:
    """Print the rows of one film."""
    cores = len(os.sched_getaffinity(0))
    ways = {"nta": (run_nta, 1), f"nta, {cores} threads": (run_nta, cores), "trackpy": (run_trackpy, 1)}
    costs: dict[str, list[bench.Cost]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, (function, threads) in ways.items():
            if name != "trackpy" or len(costs[name]) < options.trackpy_repeats:
                costs[name].append(bench.in_child(function, path, threads))
    seconds = {name: [statistics.median(c.answer[key] for c in runs) for key in ("cpu_s", "wall_s")] for name, runs in costs.items()}
    for name, runs in costs.items():
        seen, (cpu, wall) = runs[-1].answer, seconds[name]
        stages = ", ".join(f"{stage} {s:.2f}" for stage, s in seen["stages"].items())
        memory = f"{max(c.peak_mb for c in runs):.0f}"
        cells = (f"{cpu:.2f}", f"{wall:.2f}", f"{seconds['trackpy'][0] / cpu:.1f}", seen["spots"], seen["tracks"], f"{seen['d50']:.1f}")
        say(bench.row(film, name, len(runs), *cells, memory, stages))


def _plain(deflated: Path) -> Path:
    """Return the film as it comes from a camera, without compression."""
    path = deflated.with_stem(f"{deflated.stem}_plain")
    if not path.exists():
        with tifffile.TiffFile(deflated) as film:
            told = {key: value for key, value in (film.imagej_metadata or {}).items() if key in ("unit", "finterval", "fps", "Info")}
            resolution = [page.tags[name].value for page in (film.pages[0],) for name in ("XResolution", "YResolution")]
            tifffile.imwrite(path, film.asarray(), imagej=True, metadata={**told, "axes": "TYX"}, resolution=[a / b for a, b in resolution])
    return path


def memory(folder: Path, options: argparse.Namespace) -> None:
    """Print the most memory held against the length of the film."""
    frames = 60 if options.quick else 500
    plain = replace(find_recipe("bright_ev"), width_px=320, height_px=240, in_view=40.0)
    say(f"\n{bench.head('who', 'frames', 'spots', 'peak memory, MB', 'CPU, s')}")
    grown = []
    for name, function in (("nta", run_nta), ("trackpy", run_trackpy)):
        held = []
        for times in LENGTHS:
            recipe = replace(plain, name=f"memory_{frames * times}", n_frames=frames * times)
            cost = bench.in_child(function, _film(recipe, folder), 1)
            held.append((cost.answer["spots"], cost.peak_mb))
            say(bench.row(name, recipe.n_frames, cost.answer["spots"], f"{cost.peak_mb:.0f}", f"{cost.answer['cpu_s']:.2f}"))
        spots, mb = np.array(held).T
        grown.append(f"{name}: {1e6 * np.polyfit(spots, mb, 1)[0]:.0f} MB per million spots")
    say("\n" + "; ".join(grown))


def _film(recipe: Any, folder: Path) -> Path:
    path = folder / f"{recipe.name}.tif"
    if not path.exists():
        write_video(recipe, 0, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few frames, one run")
    parser.add_argument("--keep", type=Path, help="folder in which the films stay")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trackpy-repeats", type=int, default=1, help="at most; it takes minutes")
    parser.add_argument("--part", nargs="+", choices=("time", "memory"), default=("time", "memory"))
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
    bench.one_thread()
    say(bench.environment())
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for part in options.part:
            {"time": timing, "memory": memory}[part](folder, options)


if __name__ == "__main__":
    main()
