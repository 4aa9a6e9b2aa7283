"""Scores -> scorecard: tables, terminal summary, and the whole folder."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nta import __version__, scorechart, tables
from nta.recipe import Recipe
from nta.score import Line, Score, by_recipe, components

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

SCORECARD = tables.Kind(
    schema="nta-scorecard/1",
    record="scorecard.json",
    files=("scorecard.csv", "videos.csv", "scorecard.json", *scorechart.FILES),
    elsewhere="-o",
)
SIZES = {"d10": "D10", "d50": "D50", "d90": "D90", "mean": "mean", "mode": "mode"}


def fingerprint(recipes: Iterable[Recipe], seeds: int) -> str:
    """Return the SHA-256 of what is to be simulated; a scorecard of the same may be replaced."""
    return hashlib.sha256(json.dumps([seeds, *map(asdict, recipes)], sort_keys=True).encode()).hexdigest()


def write_scorecard(scores: Sequence[Score], folder: str | Path, sha256: str, *, overwrite: bool = False) -> None:
    """Write the folder of a scorecard: tables, JSON, figure; in one step, or not at all.

    Raises
    ------
    UsageError
        When `folder` holds the scorecard of other recipes (and not `overwrite`), or something that nta did not write.
    NtaError
        When it cannot be written.
    """
    with tables.staged_folder(folder, sha256, overwrite=overwrite, kind=SCORECARD) as stage:
        tables.write_text(stage / "scorecard.csv", tables.to_csv(lines_frame(scores)))
        tables.write_text(stage / "videos.csv", tables.to_csv(videos_frame(scores)))
        record = summary(scores) | {"input": {"path": ", ".join(by_recipe(scores)), "sha256": sha256}}
        tables.write_text(stage / "scorecard.json", tables.to_json(record, indent=2) + "\n")
        scorechart.save(scores, stage)


# --- tables ---


def lines_frame(scores: Iterable[Score]) -> pd.DataFrame:
    """Return one row a statistic of each video: measured, true, error, and whether the interval holds the sample's value."""
    import pandas as pd

    columns: dict[str, list[Any]] = {name: [] for name in _LINE_COLUMNS}
    for score in scores:
        for line in score.lines:
            m = line.measured
            held = "" if line.covers is None else "yes" if line.covers else "no"
            row = (
                *(score.recipe.name, score.seed, line.statistic, line.unit),
                *(m.value, m.low, m.high, line.sample, line.present, line.error, held, "no" if line.why_not else "yes", line.why_not),
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return pd.DataFrame(columns)


_LINE_COLUMNS = "recipe seed statistic unit value low high sample present error holds_sample judged why_not".split()


def videos_frame(scores: Sequence[Score]) -> pd.DataFrame:
    """Return one row a video: distances, peaks, what was seen of what was there, warnings, wall time, and why it failed."""
    import pandas as pd

    columns: dict[str, Callable[[Score], Any]] = {
        "recipe": lambda s: s.recipe.name,
        "seed": lambda s: s.seed,
        "w1_present_ln": lambda s: s.w1_present,
        "w1_sample_ln": lambda s: s.w1_sample,
        "w1_luck_ln": lambda s: s.w1_luck,
        "peaks": lambda s: s.peaks,
        "peaks_true": lambda s: s.peaks_true,
        "particles_present": lambda s: s.particles_present,
        "present_per_frame": lambda s: s.present_per_frame,
        "sized_share": lambda s: s.sized_share,
        "tracks_sized": lambda s: s.tracks_sized,
        "smallest_sized_nm": lambda s: s.smallest_sized_nm,
        "smallest_present_nm": lambda s: s.smallest_present_nm,
        "detection_limit_nm": lambda s: s.detection_limit_nm,
        "warnings": lambda s: "|".join(dict.fromkeys(n.code for n in s.notices)),
        "simulate_s": lambda s: s.simulate_s,
        "analyze_s": lambda s: s.analyze_s,
        "error": lambda s: s.error,
    }
    return pd.DataFrame({name: [take(s) for s in scores] for name, take in columns.items()})


# --- over the seeds ---


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the content of scorecard.json: for each recipe what its videos say together, and the pooled coverage."""
    return {
        "schema": SCORECARD.schema,
        "software": {"nta": __version__},
        "recipes": [_of_recipe(name, group) for name, group in by_recipe(scores).items()],
        "coverage": _coverage([line for score in scores for line in score.judged]),
        "failures": [{"recipe": s.recipe.name, "seed": s.seed, "error": s.error} for s in scores if s.error],
    }


def _of_recipe(name: str, group: Sequence[Score]) -> dict[str, Any]:
    done = [s for s in group if not s.error]
    statistics: dict[str, list[Line]] = {}
    for score in done:
        for line in score.judged:
            statistics.setdefault(line.statistic, []).append(line)
    return {
        "name": name,
        "videos": len(done),
        "seeds": [s.seed for s in done],
        "statistics": {key: _together(lines) for key, lines in statistics.items()},
        "coverage": _coverage([line for score in done for line in score.judged]),
        "w1_present_ln": _mean([s.w1_present for s in done]),
        "w1_sample_ln": _mean([s.w1_sample for s in done]),
        "w1_luck_ln": _mean([s.w1_luck for s in done]),
        "peaks": [s.peaks for s in done],
        "peaks_true": len(components(group[0].recipe)),
        "sized_share": _mean([s.sized_share for s in done]),
        "smallest_sized_nm": _mean([s.smallest_sized_nm for s in done]),
        "smallest_present_nm": _mean([s.smallest_present_nm for s in done]),
        "detection_limit_nm": _mean([s.detection_limit_nm for s in done]),
        "warnings": dict(Counter(code for s in done for code in {n.code: None for n in s.notices})),
        "simulate_s": _mean([s.simulate_s for s in done]),
        "analyze_s": _mean([s.analyze_s for s in done]),
        "recipe": asdict(group[0].recipe),
    }


def _together(lines: Sequence[Line]) -> dict[str, Any]:
    """Return mean and spread (SD, n - 1) of the errors of one statistic, and how many of its intervals hold the sample's value."""
    errors = np.array([line.error for line in lines])
    spread = float(errors.std(ddof=1)) if len(errors) > 1 else math.nan
    return {"unit": lines[0].unit, "n": len(lines), "mean_error": float(errors.mean()), "sd_error": spread} | _coverage(lines)


def _coverage(lines: Iterable[Line]) -> dict[str, int]:
    held = [line.covers for line in lines if line.covers is not None]
    return {"held": sum(held), "intervals": len(held)}


def _mean(values: Iterable[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan


# --- terminal ---


def terminal_summary(scores: Sequence[Score]) -> RenderableType:
    """Return two short tables: errors of the sizes, and what was resolved; plain aligned text where there are no colours."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(*headings: str) -> Table:
        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        made.add_column(headings[0], min_width=16)
        for heading in headings[1:]:
            made.add_column(heading, justify="right", no_wrap=True)
        return made

    s = summary(scores)
    sizes, resolved = (
        table("error, %", "n", *SIZES.values(), "intervals hold"),
        table("resolution", "W1", "by luck", "peaks", "sized share", "smallest, nm", "worst class", "analysis"),
    )
    for r in s["recipes"]:
        named = r["statistics"]
        held = r["coverage"]
        sizes.add_row(r["name"], str(r["videos"]), *(_error(named.get(key)) for key in SIZES), f"{held['held']} of {held['intervals']}")
        classes = [abs(one["mean_error"]) for key, one in named.items() if key.startswith("fraction_")]
        resolved.add_row(
            r["name"],
            *(_number(r[key], ".3f") for key in ("w1_sample_ln", "w1_luck_ln")),
            f"{'/'.join(map(str, sorted(set(r['peaks'])))) or '-'} of {r['peaks_true']}",
            _number(100 * r["sized_share"], ".0f", " %"),
            f"{_number(r['smallest_sized_nm'], '.0f')} of {_number(r['smallest_present_nm'], '.0f')}",
            _number(100 * max(classes, default=math.nan), ".1f", " %"),
            _number(r["analyze_s"], ".0f", " s"),
        )
    notes = [f"{r['name']}: {code} ({n} of {r['videos']})" for r in s["recipes"] for code, n in r["warnings"].items()]
    total = s["coverage"]
    share = f" ({100 * total['held'] / total['intervals']:.0f} %)" if total["intervals"] else ""
    return Group(
        sizes,
        Text(""),
        resolved,
        Text(""),
        *(Text(f"warnings  {note}" if i == 0 else f"          {note}", style="dim") for i, note in enumerate(notes)),
        Text(f"{total['held']} of {total['intervals']} intervals{share} hold the sample's value"),
    )


def _error(one: dict[str, Any] | None) -> str:
    """Format a relative error in percent: -1.2, or with its spread over the videos -1.2±0.4."""
    if one is None:
        return "-"
    spread = "" if math.isnan(one["sd_error"]) else f"±{100 * one['sd_error']:.1f}"
    return f"{100 * one['mean_error']:+.1f}{spread}"


def _number(value: float, form: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"
