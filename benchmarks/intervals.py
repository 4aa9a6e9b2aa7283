"""Do nta's intervals hold the sample's values: part of sizing.py.

Whole resampling, `low_stat` to `high_stat`, since the scale is known exactly. Not judged: a quantile within 0.1 of a gap between
populations, a class share whose edge runs through a population, the mode where populations contend, the SD of exactly one size, which is 0
and at the edge of what can be.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import bench
import numpy as np
import slab
from bench import say
from samples import Case

from nta.classes import find_classes
from nta.distribution import Interval
from nta.score import EDGE_NUDGE, EDGE_SHARE, NEAR_GAP
from nta.settings import Settings

CASE_KEYS = ("A 100", "A 100+150", "A EV", "A wide", "A EV+mv+apo")
QUANTILES = {"d10": 0.1, "d50": 0.5, "d90": 0.9}
POOLED, LEAST, WIDEST = (0.93, 0.98), 0.88, 1.5


@dataclass(frozen=True)
class Row:
    """One statistic of one seed."""

    case: str
    seed: int
    statistic: str
    value: float
    low: float
    high: float
    truth: float
    judged: bool

    @property
    def covers(self) -> bool:
        slack = 1e-9 * max(abs(self.truth), 1.0)
        return self.low - slack <= self.truth <= self.high + slack


def measure(case: Case, seed: int) -> Iterator[Row]:
    """Size the tracks of one seed."""
    settings = Settings()
    shot = slab.shoot(case.draw, case.scene, case.n_tracks, seed)
    diffusion, _, found = slab.size(shot, settings)
    for name, (truth, judged) in summaries(case).items():
        yield _row(case, seed, name, found.statistic(name), truth, judged)
    classes = find_classes(found, diffusion, len(shot.start) - 1, settings.classes.classes)
    nm, weight = case.truth
    for one, share in zip(classes.classes, classes.fraction, strict=True):
        inside = (nm >= one.low_nm) & (nm < one.high_nm)
        yield _row(case, seed, one.name, share, float(weight[inside].sum()), not _on_edge(case, (one.low_nm, one.high_nm)))


def _row(case: Case, seed: int, name: str, found: Interval, truth: float, judged: bool) -> Row:
    return Row(case.key, seed, name, found.value, found.low_stat, found.high_stat, truth, judged)


def summaries(case: Case) -> dict[str, tuple[float, bool]]:
    """Return the sample's value of each statistic, and whether it is judged."""
    nm, weight = case.truth
    mean = float(weight @ nm)
    cumulative = np.cumsum(weight)
    quantiles = {
        name: (float(nm[min(int(np.searchsorted(cumulative, q)), len(nm) - 1)]), all(abs(q - gap) > NEAR_GAP for gap in case.gaps))
        for name, q in QUANTILES.items()
    }
    sd = float(np.sqrt(weight @ (nm - mean) ** 2))
    return {"mean": (mean, True), "mode": (case.mode_nm, np.isfinite(case.mode_nm)), "sd": (sd, len(case.sizes_nm) != 1), **quantiles}


def _on_edge(case: Case, edges_nm: Sequence[float]) -> bool:
    """Return whether a class edge moved by 5 % would move many to another class."""
    nm, weight = case.truth
    moved = (weight[(nm >= e / EDGE_NUDGE) & (nm < e)].sum() for e in edges_nm if e > 0)
    further = (weight[(nm >= e) & (nm < e * EDGE_NUDGE)].sum() for e in edges_nm)
    return any(share > EDGE_SHARE for share in (*moved, *further))


# --- what comes out ---


def say_tables(rows: Sequence[Row], cases: Iterable[Case]) -> None:
    """Print each statistic of each case, then pooled over the cases, and the bars."""
    say(f"\n{bench.head('case', 'statistic', 'sample', 'mean estimate', 'covers', 'of', 'width ratio', 'judged')}")
    ratios, names = [], list(dict.fromkeys(row.statistic for row in rows))
    for case in cases:
        for name in names:
            some = [row for row in rows if (row.case, row.statistic) == (case.key, name)]
            if not some:
                continue
            ratio = width_ratio(some)
            if some[0].judged and np.isfinite(ratio):
                ratios.append(ratio)
            held = sum(row.covers for row in some)
            mean = np.mean([row.value for row in some])
            judged = "" if some[0].judged else "no"
            say(bench.row(case.key, name, f"{some[0].truth:.4g}", f"{mean:.4g}", held, len(some), f"{ratio:.2f}", judged))
    judged = [row for row in rows if row.judged]
    if not judged:
        return
    say(f"\n{bench.head('statistic, all cases', 'covers', 'of', '%')}")
    worst = 1.0
    for name in names:
        some = [row.covers for row in judged if row.statistic == name]
        if some:
            worst = min(worst, float(np.mean(some)))
            say(bench.row(name, sum(some), len(some), f"{100 * np.mean(some):.1f}"))
    pooled = float(np.mean([row.covers for row in judged]))
    say(f"\n- pooled coverage 93 to 98 %: {100 * pooled:.1f} % of {len(judged)}: {bench.verdict(POOLED[0] <= pooled <= POOLED[1])}")
    # a class in which nobody is, far from anybody, is easily covered
    telling = [row.covers for row in judged if row.truth > 0]
    say(f"- the same without classes that are empty: {100 * np.mean(telling):.1f} % of {len(telling)}")
    say(f"- no statistic below 88 %: {100 * worst:.1f} %: {bench.verdict(worst >= LEAST)}")
    if ratios:
        middle = float(np.median(ratios))
        say(f"- median width over 2 x 1.96 SD of the estimates at most 1.5: {middle:.2f}: {bench.verdict(middle <= WIDEST)}")


def width_ratio(rows: Sequence[Row]) -> float:
    """Return the median width of the intervals over 2 x 1.96 SD of the estimates between seeds; NaN where they hardly vary."""
    spread = np.std([row.value for row in rows], ddof=1) if len(rows) > 2 else 0.0
    if spread < 1e-4 * max(abs(np.mean([row.value for row in rows])), 1e-2):
        return np.nan
    return float(np.median([row.high - row.low for row in rows]) / (2 * 1.96 * spread))


def _read(path: Path | None) -> list[Row]:
    if path is None or not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(r["case"], int(r["seed"]), r["statistic"], *(float(r[k]) for k in ("value", "low", "high", "truth")), r["judged"] == "True")
            for r in csv.DictReader(file)
        ]


def run(options: argparse.Namespace, cases: list[Case], seeds: range) -> None:
    """Measure, case by case, then print; what the CSV holds is not measured again."""
    rows = [row for row in _read(options.csv) if row.seed in seeds]
    known = {(row.case, row.seed) for row in rows}
    names = [field.name for field in fields(Row)]
    for case in cases:
        begun = time.perf_counter()
        todo = [seed for seed in seeds if (case.key, seed) not in known]
        for done, seed in enumerate(todo, start=1):
            found = list(measure(case, seed))
            rows += found
            if options.csv:
                new = not options.csv.exists()
                with options.csv.open("a", newline="", encoding="utf-8") as file:
                    writer = csv.writer(file)
                    writer.writerows([*([names] if new else []), *([getattr(row, name) for name in names] for row in found)])
            if done % 10 == 0 or done == len(todo):
                say(f"{case.key}: {done} of {len(todo)} seeds in {time.perf_counter() - begun:.0f} s")
    say_tables(rows, cases)
