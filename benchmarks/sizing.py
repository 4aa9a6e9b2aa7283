"""How close sizes come to the truth from tracks alone, against published methods on the same tracks.

``python benchmarks/sizing.py [--part coverage] [--cases 'A 100' ...] [--seeds 0-19] [--saspt PYTHON] [--csv FILE] [--figure FILE]``

*Distance*: simulated tracks (slab.py) of known samples (samples.py), sized by `nta` and by others (estimators.py): Wasserstein distance in
ln d to the sample, as Markdown tables, with bars. ``--saspt`` names the interpreter of an environment that has saspt; without it that peer
is left out. ``--csv`` keeps every seed as it comes and is read first: what it holds already is not measured again, so that a run can be
taken up, and nta alone be taken again once its lines are removed. *Coverage*: see intervals.py.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import bench
import estimators
import intervals
import numpy as np
import slab
from bench import say
from estimators import Sizes
from samples import CASES, Case
from slab import Shot

from nta import distribution
from nta.score import distance

NTA, RAW, EVERY_RAW, FLOOR, SASPT = "nta", "raw MLE", "raw MLE, all", "floor", "saspt"
MSD, WALKER = ("MSD, 2 lags", "MSD, 4 lags"), ("Walker", "NanoTrackJ")
METHODS = (NTA, FLOOR, RAW, *WALKER, SASPT, "covariance", *MSD, "trackpy, power law")
QUICK_CASES = ("A 100", "A 100+150")
NEAR_PEAK = 0.1  # relative distance of a peak to a true one that passes


@dataclass(frozen=True)
class Row:
    """One method on the tracks of one seed; peaks are nta's alone."""

    case: str
    seed: int
    method: str
    w1: float
    cpu_s: float
    peaks_nm: str = ""
    peaks_right: str = ""
    tracks: int = 0
    particles: int = 0


# --- measuring ---


def by_nta(case: Case, seed: int, shot: Shot) -> Iterator[Row]:
    """Size by nta, as it is and by each track's most likely diameter."""
    begun = time.process_time()
    found = slab.size(shot)[2]
    cpu_s = time.process_time() - begun
    peaks = np.array([peak.diameter_nm for peak in found.peaks])
    right = ""
    if case.sizes_nm:
        right = str(len(peaks) == len(case.sizes_nm) and bool(np.all(np.abs(peaks / case.sizes_nm - 1) < NEAR_PEAK)))
    counts = (len(shot.start) - 1, len(np.unique(shot.particle[shot.particle >= 0])))
    listed = " ".join(f"{nm:.1f}" for nm in peaks)
    yield Row(case.key, seed, NTA, distance(found, *case.truth), cpu_s, listed, right, *counts)
    yield Row(case.key, seed, RAW, Sizes.within_limits(found.raw_nm).distance(case.truth), np.nan)
    everyone = Sizes(found.raw_nm, np.full(len(found.raw_nm), 1 / len(found.raw_nm)))
    yield Row(case.key, seed, EVERY_RAW, everyone.distance(case.truth), np.nan)


def by_peers(case: Case, seed: int, shot: Shot) -> Iterator[Row]:
    """Size by the peers that are here."""
    begun = time.process_time()
    squares = estimators.mean_squares(shot)
    squares_s = time.process_time() - begun
    begun = time.process_time()
    products = estimators.Products.of(shot)
    products_s = time.process_time() - begun
    jobs: dict[str, tuple[Callable[[], Sizes], float]] = {
        "trackpy, power law": (partial(estimators.power_law, *squares), squares_s),
        **{name: (partial(estimators.line, *squares, int(name.split()[1])), squares_s) for name in MSD},
        "covariance": (partial(estimators.covariance, products), products_s),
        "NanoTrackJ": (partial(estimators.nanotrackj, products), products_s),
        "Walker": (partial(estimators.walker, products), products_s),
    }
    for name, (job, before_s) in jobs.items():
        begun = time.process_time()
        sizes = job()
        yield Row(case.key, seed, name, sizes.distance(case.truth), before_s + time.process_time() - begun)


def by_truth(case: Case, seed: int, shot: Shot) -> Iterator[Row]:
    """What remains where every particle that left a track is known by its true size."""
    yield Row(case.key, seed, FLOOR, Sizes(*slab.seen_particles(shot)).distance(case.truth), np.nan)


def measure(case: Case, seeds: Iterable[int], saspt: Path | None, known: set[tuple[str, int, str]]) -> Iterator[Row]:
    """Run on each seed what is not known yet."""
    waiting: dict[int, Shot] = {}
    for seed in seeds:
        jobs = {by_nta: (NTA, RAW)} if case.only_peaks else {by_nta: (NTA, RAW), by_peers: METHODS[-1:], by_truth: (FLOOR,)}
        todo = [job for job, methods in jobs.items() if any((case.key, seed, m) not in known for m in methods)]
        other = saspt is not None and not case.only_peaks and (case.key, seed, SASPT) not in known
        if not todo and not other:
            continue
        shot = slab.shoot(case.draw, case.scene, case.n_tracks, seed)
        for job in todo:
            yield from job(case, seed, shot)
        if other:
            waiting[seed] = shot
    if saspt is not None and waiting:
        found = estimators.state_arrays(saspt, list(waiting.values()))
        for seed, (sizes, cpu_s) in zip(waiting, found, strict=True):
            yield Row(case.key, seed, SASPT, sizes.distance(case.truth), cpu_s)


# --- what comes out ---


class Results:
    """Rows by case and method."""

    def __init__(self, rows: Iterable[Row], cases: Iterable[Case], seeds: Iterable[int]) -> None:
        kept, self.cases = set(seeds), list(cases)
        self.rows: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            if row.seed in kept:
                self.rows.setdefault((row.case, row.method), []).append(row)
        self.methods = [m for m in METHODS if any((case.key, m) in self.rows for case in self.cases)]

    def w1(self, case: Case, method: str) -> float:
        """Mean over the seeds."""
        return float(np.mean([row.w1 for row in self.rows.get((case.key, method), [])] or [np.nan]))

    def mean(self, cases: Iterable[Case], method: str) -> float:
        """Mean over the cases."""
        return float(np.mean([self.w1(case, method) for case in cases]))

    def judged(self, group: str) -> list[Case]:
        """Cases of a group whose distances count."""
        return [case for case in self.cases if case.group == group and not case.only_peaks and (case.key, NTA) in self.rows]

    def peaks_right(self, cases: Iterable[Case]) -> tuple[int, int]:
        """Seeds in which the peaks are right, and all of them."""
        told = [row.peaks_right for case in cases for row in self.rows.get((case.key, NTA), []) if row.peaks_right]
        return told.count("True"), len(told)


def say_tables(results: Results) -> None:
    """Print distances, ratios and times."""
    say(f"\nMean W1 in ln d to the sample:\n\n{bench.head('case', 'seeds', *results.methods)}")
    for case in results.cases:
        if not case.only_peaks:
            seeds = len(results.rows.get((case.key, NTA), []))
            say(bench.row(case.key, seeds, *(f"{results.w1(case, m):.4f}" for m in results.methods)))
    for group in "AB":
        if cases := results.judged(group):
            say(bench.row(f"mean of {group}", "", *(f"{results.mean(cases, m):.4f}" for m in results.methods)))
    say(f"\n{bench.head('case', 'W1 of nta', 'standard error', '/ raw MLE', '/ MSD', '/ floor', 'peaks right', 'particles', 'tracks')}")
    for case in results.cases:
        rows = results.rows.get((case.key, NTA), [])
        if not rows:
            continue
        w1, error = results.w1(case, NTA), np.std([row.w1 for row in rows], ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
        against = (results.w1(case, RAW), min(results.w1(case, m) for m in MSD), results.w1(case, FLOOR))
        ratios = [f"{w1 / other:.2f}" if other > 0 else "" for other in against]
        right, all_ = results.peaks_right([case])
        counts = [f"{np.mean([getattr(row, name) for row in rows]):.0f}" for name in ("particles", "tracks")]
        say(bench.row(case.key, f"{w1:.4f}", f"{error:.4f}", *ratios, f"{right}/{all_}" if all_ else "", *counts))
    say(f"\nMedian CPU seconds for the tracks of a video:\n\n{bench.head('method', 'A', 'B')}")
    for method in results.methods:
        taken = [
            [row.cpu_s for case in results.judged(group) for row in results.rows.get((case.key, method), []) if np.isfinite(row.cpu_s)]
            for group in "AB"
        ]
        if any(taken):
            say(bench.row(method, *(f"{np.median(some):.2f}" if some else "" for some in taken)))


def say_bars(results: Results) -> None:
    """Print what must hold."""
    say()
    if clean := results.judged("A"):
        mean = partial(results.mean, clean)
        # of two ways to do the same the better one
        for name, peers, most in ((RAW, (RAW,), 0.25), ("MSD", MSD, 0.12)):
            ratio = mean(NTA) / min(mean(m) for m in peers)
            say(f"- A, mean W1 at most {most:g} of that of {name}: {ratio:.3f}: {bench.verdict(ratio <= most)}")
        for peers in (WALKER, (SASPT,)):
            there = [m for m in peers if m in results.methods]
            worse = [case.name for case in clean if there and results.w1(case, NTA) >= min(results.w1(case, m) for m in there)]
            if there:
                say(f"- A, nearer than {' and '.join(there)} in every case: {', '.join(worse) or 'all'}: {bench.verdict(not worse)}")
        if mean(FLOOR) > 0:
            say(f"- A, mean over that of the floor (aim 1.25): {mean(NTA) / mean(FLOOR):.2f}")
    mixtures = [case for case in results.cases if case.group == "A" and len(case.sizes_nm) > 1]
    right, all_ = results.peaks_right(mixtures)
    if all_:
        say(f"- A, peaks of mixtures right in 95 %: {right} of {all_}, {100 * right / all_:.1f} %: {bench.verdict(right >= 0.95 * all_)}")
    for case in clean:
        if len(case.sizes_nm) == 1:
            say(f"- {case.key} nm, W1 at most 0.015: {results.w1(case, NTA):.4f}: {bench.verdict(results.w1(case, NTA) <= 0.015)}")
    for case in results.judged("B"):
        w1, raw, every, floor = (results.w1(case, m) for m in (NTA, RAW, EVERY_RAW, FLOOR))
        beside = f", {w1 / floor:.2f} of the floor" if floor > 0 else ""
        said = f"{w1 / raw:.2f} of raw, {w1 / every:.2f} with what raw has at its ends{beside}"
        holds = bench.verdict(w1 <= max(0.6 * raw, 2 * floor))
        say(f"- {case.key}, at most 0.6 of raw MLE or twice the floor (aim 0.4 of raw): {said}: {holds}")


def read_rows(path: Path | None) -> list[Row]:
    """Read what a run before has left."""
    if path is None or not path.exists():
        return []
    kinds = {field.name: {"int": int, "float": float, "str": str}[str(field.type)] for field in fields(Row)}
    with path.open(newline="", encoding="utf-8") as file:
        return [Row(**{name: kind(line[name]) for name, kind in kinds.items()}) for line in csv.DictReader(file)]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add to the file."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow([field.name for field in fields(Row)])
        writer.writerows([getattr(row, field.name) for field in fields(Row)] for row in rows)


def run_distance(options: argparse.Namespace, cases: list[Case], seeds: range) -> None:
    """Measure, case by case, then print."""
    # the distance needs none of the resampling behind the intervals
    distribution.REPLICATES = 2
    if options.saspt is None:
        say("saspt is left out: no --saspt")
    rows = read_rows(options.csv)
    known = {(row.case, row.seed, row.method) for row in rows}
    for case in cases:
        begun = time.perf_counter()
        found = []
        for row in measure(case, seeds, options.saspt, known):
            found.append(row)
            if options.csv:
                write_rows(options.csv, [row])
        rows += found
        if found:
            say(f"{case.key}: {len(found)} rows in {time.perf_counter() - begun:.0f} s")
    results = Results(rows, cases, seeds)
    say_tables(results)
    say_bars(results)
    if options.figure:
        import sizing_figure

        sizing_figure.draw(options.figure, results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("distance", "coverage"), default="distance")
    parser.add_argument("--cases", nargs="+", metavar="CASE", help=", ".join(case.key for case in CASES))
    parser.add_argument("--seeds", help="first and last, 0-19 for distances, 0-99 for coverage", metavar="FIRST-LAST")
    parser.add_argument("--saspt", type=Path, metavar="PYTHON")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="two cases, two seeds")
    options = parser.parse_args()
    bench.one_thread()
    say(bench.environment())
    run, wanted, seeds = {
        "distance": (run_distance, [case.key for case in CASES], "0-19"),
        "coverage": (intervals.run, list(intervals.CASE_KEYS), "0-99"),
    }[options.part]
    if options.quick:
        wanted, seeds = list(QUICK_CASES), "0-1"
    wanted = options.cases or wanted
    if unknown := set(wanted) - {case.key for case in CASES}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    first, last = (int(seed) for seed in (options.seeds or seeds).split("-"))
    run(options, [case for case in CASES if case.key in wanted], range(first, last + 1))


if __name__ == "__main__":
    main()
