"""How far from the truth: simulated videos of known samples, analysed with default settings, and by a trackpy script.

``python benchmarks/accuracy.py [CASE ...] [--seeds 0-9] [--keep FOLDER] [--csv FILE]`` prints Markdown tables: per video D10, D50 and D90
against the particles present, peaks, classes, W1 in ln d to the particles present of nta and of the script, the detection limit; then each
case's bars, where the limit stands over the size at which half of those present in all of its videos are found: in one there are too few.
Quantiles are of what is above the stated limit, in truth and measurement alike. Cases are the standard recipes of ``nta validate``, or
recipes in files. Videos are 100 MB each; ``--keep`` leaves them in a folder to be used again, and with them what the script found, which
takes longest.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import bench
import numpy as np
import script
from bench import say
from scipy.stats import wasserstein_distance

import nta
from nta.distribution import Distribution
from nta.recipe import Recipe
from nta.score import Truth, components, find_score, find_truth
from nta.simulate import Simulation, write_video
from nta.validate import find_recipe, suite

DEFAULT = ("standard_100", "bright_60", "bright_80_200", "standard_100_150", "bright_ev", "bright_wide", "hard_100")
QUANTILES = {"d10": 0.1, "d50": 0.5, "d90": 0.9}
SMOOTH = 0.03  # a hundred particles of ten videos are within twice that


@dataclass(frozen=True)
class Row:
    """What came out of one video: errors in %, differences of shares, W1."""

    case: str
    seed: int
    d10: float
    d50: float
    d90: float
    peaks: str
    peak_error: float
    peak_share_error: float
    class_error: float
    w1: float
    w1_script: float
    w1_sample: float
    w1_luck: float
    limit_nm: float
    held: int
    intervals: int


def measure(video: Path, recipe: Recipe, seed: int) -> tuple[Row, Truth]:
    """Analyse one video both ways; tell who was there."""
    result, simulation = nta.analyze(str(video)), Simulation(recipe, seed)
    truth, score = find_truth(result, simulation), find_score(result, simulation)
    quantiles = _quantile_errors(result.distribution, truth, result.detection_limit_nm or 0.0)
    lines = {line.statistic: line for line in score.lines}
    n = len(components(recipe))
    classes = [abs(line.error) for name, line in lines.items() if name.startswith("fraction_") and not line.why_not]
    judged = [line.covers for line in score.lines if not line.why_not and line.covers is not None]
    row = Row(
        case=recipe.name,
        seed=seed,
        **quantiles,
        peaks=", ".join(f"{p.diameter_nm:.0f} nm ({100 * p.fraction:.0f} %)" for p in result.distribution.peaks),
        peak_error=max(abs(100 * (lines[f"peak_{i + 1}"].measured.value / lines[f"peak_{i + 1}"].sample - 1)) for i in range(n)),
        peak_share_error=max(abs(lines[f"peak_{i + 1}_fraction"].error) for i in range(n)),
        class_error=float(np.mean(classes)) if classes else math.nan,
        w1=score.w1_present,
        w1_script=_by_script(video, recipe, truth),
        w1_sample=score.w1_sample,
        w1_luck=score.w1_luck,
        limit_nm=result.detection_limit_nm or math.nan,
        held=sum(judged),
        intervals=len(judged),
    )
    return row, truth


def _quantile_errors(distribution: Distribution, truth: Truth, limit_nm: float) -> dict[str, float]:
    """Return the errors in % of what is above the limit."""
    order = np.argsort(truth.present_nm)
    nm, weight = truth.present_nm[order], truth.present[order]
    weight, nm = weight[nm > limit_nm], nm[nm > limit_nm]
    below = distribution.share(0.0, limit_nm).value if limit_nm else 0.0
    edges, cumulative = np.log(distribution.edges_nm), np.append(0.0, np.cumsum(distribution.weight))
    # a size that is narrower than a cell of the grid stands on a step
    rising = np.flatnonzero(np.diff(cumulative) > 0)
    some = np.unique(np.append(rising, rising + 1))
    errors = {}
    for name, q in QUANTILES.items():
        true = nm[min(np.searchsorted(np.cumsum(weight) / weight.sum(), q), len(nm) - 1)]
        measured = np.exp(np.interp(below + q * (1 - below), cumulative[some], edges[some]))
        errors[name] = 100 * (measured / true - 1)
    return errors


def half_found_nm(truths: list[Truth]) -> float:
    """Return the smallest diameter at which half of the particles present are found, as many at a time; NaN where they do not say.

    The share found is smoothed over `SMOOTH` of ln d.
    """
    x, found = np.log(np.concatenate([t.present_nm for t in truths])), np.concatenate([t.sized for t in truths])
    weight = np.concatenate([t.present for t in truths])
    at = np.linspace(x.min(), x.max(), 400)
    kernel = weight * np.exp(-0.5 * ((x - at[:, None]) / SMOOTH) ** 2)
    share = kernel @ found / np.maximum(kernel.sum(axis=1), 1e-300)
    above = np.flatnonzero(share > 0.5)
    return float(np.exp(at[above[0]])) if len(above) and above[0] > 0 else math.nan


def _by_script(video: Path, recipe: Recipe, truth: Truth) -> float:
    """Return the script's W1; what it found is kept beside the video."""
    kept = video.with_name(f"{video.stem}_script.npy")
    if not kept.exists():
        _, nm = script.size_by_script(video, recipe, script.choose_mass(video))
        np.save(kept, nm)
    nm = np.load(kept)
    return float(wasserstein_distance(np.log(nm), np.log(truth.present_nm), None, truth.present))


def _bars(rows: list[Row], half_nm: float) -> str:
    """Return a row of the table of cases: the worst of each bar, and means; `half_nm` is the size at which half are found."""

    def worst(name: str) -> str:
        return f"{max((getattr(r, name) for r in rows), key=abs):+.1f}"

    limits = [r.limit_nm for r in rows]
    off = f", {min(limits) / half_nm:.2f}-{max(limits) / half_nm:.2f} of {half_nm:.1f}" if math.isfinite(half_nm) else ""
    w1, by_script = (float(np.mean([getattr(r, name) for r in rows])) for name in ("w1", "w1_script"))
    return bench.row(
        rows[0].case, len(rows), worst("d10"), worst("d50"), worst("d90"), worst("peak_error"),
        f"{max(r.peak_share_error for r in rows):.3f}", f"{np.mean([r.class_error for r in rows]):.3f}", f"{w1:.4f}", f"{by_script:.4f}",
        f"{w1 / by_script:.3f}", f"{min(limits):.0f}-{max(limits):.0f}{off}",
        f"{sum(r.held for r in rows)}/{sum(r.intervals for r in rows)}",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=DEFAULT, metavar="CASE", help=", ".join(suite()))
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--csv", type=Path, help="every number of every video")
    options = parser.parse_args()
    first, last = (int(s) for s in options.seeds.split("-"))
    bench.one_thread()
    say(bench.environment())
    found: dict[str, list[Row]] = {}
    truths: dict[str, list[Truth]] = {}
    columns = ("video", "D10, %", "D50, %", "D90, %", "peaks", "W1", "script's", "limit, nm", "intervals that hold")
    say(bench.head(*columns))
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for case in options.cases:
            recipe = find_recipe(case)
            for seed in range(first, last + 1):
                video = folder / f"{recipe.name}_{seed}.tif"
                if not video.exists():
                    write_video(recipe, seed, video)
                row, truth = measure(video, recipe, seed)
                found.setdefault(case, []).append(row)
                truths.setdefault(case, []).append(truth)
                errors = (f"{getattr(row, name):+.1f}" for name in QUANTILES)
                distances = (f"{row.w1:.4f}", f"{row.w1_script:.4f}")
                say(bench.row(video.stem, *errors, row.peaks, *distances, f"{row.limit_nm:.0f}", f"{row.held}/{row.intervals}"))
                if options.keep is None:
                    video.unlink()
    columns = (
        "case", "videos", "worst D10, %", "D50, %", "D90, %", "peak, %", "its share", "classes, mean", "W1", "script's", "ratio",
        "limit, nm, over the size of which half are found", "intervals that hold",
    )  # fmt: skip
    say(f"\n{bench.head(*columns)}")
    for case, rows in found.items():
        say(_bars(rows, half_found_nm(truths[case])))
    if options.csv is not None:
        with options.csv.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(Row.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(asdict(row) for rows in found.values() for row in rows)


if __name__ == "__main__":
    main()
