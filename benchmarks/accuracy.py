"""How far from the truth: simulated videos of known samples, analysed with default settings.

``python benchmarks/accuracy.py [CASE ...] [--seeds 0-4] [--keep FOLDER]`` prints a Markdown table: per video the error of D50 against the
particles present, the peaks, and how many class intervals hold the sample's fraction; then the pooled coverage. Cases are the
standard recipes of ``nta validate``, or recipes in files. Videos are 100 MB each; ``--keep`` leaves them in a folder to be used again.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import nta
from nta import simulate
from nta.validate import find_recipe, suite

DEFAULT = ("bright_100", "bright_60", "bright_80_200", "bright_ev")
CLASS_KEYS = ("fraction_below_30", "fraction_30_100", "fraction_100_1000", "fraction_above_1000")


def measure(video: Path, truth: dict[str, Any]) -> tuple[str, int, int]:
    """Return a table row, the class intervals that hold the sample's fraction, and all of them."""
    result = nta.analyze(str(video))
    sample, present = truth["sample"], truth["present"]
    median = result.distribution.statistic("d50")
    error = 100 * (median.value / present["d50_nm"] - 1)
    peaks = ", ".join(f"{p.diameter_nm:.0f} nm ({100 * p.fraction:.0f} %)" for p in result.distribution.peaks)
    held = [f.low - 1e-9 <= sample[key] <= f.high + 1e-9 for f, key in zip(result.classes.fraction, CLASS_KEYS, strict=True)]
    row = (
        f"| {video.stem} | {median.value:.1f} [{median.low:.1f}, {median.high:.1f}] | {present['d50_nm']:.1f} | {error:+.1f} % | {peaks} | "
    )
    return row + f"{sum(held)}/{len(held)} |", sum(held), len(held)


def main() -> None:
    """Simulate what is missing, analyse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=DEFAULT, metavar="CASE", help=", ".join(suite()))
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    first, last = (int(s) for s in options.seeds.split("-"))
    print(f"nta {nta.__version__}, Python {platform.python_version()}, {platform.machine()}\n")
    print("| video | D50, nm | present D50, nm | error | peaks | class intervals that hold |\n|---|---|---|---|---|---|", flush=True)
    held = total = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        for case in options.cases:
            for seed in range(first, last + 1):
                recipe = find_recipe(case)
                video = folder / f"{recipe.name}_{seed}.tif"
                if not video.exists():
                    simulate.write_video(recipe, seed, video)
                row, good, n = measure(video, json.loads(video.with_name(f"{video.stem}_truth.json").read_text()))
                held, total = held + good, total + n
                print(row, flush=True)
                if options.keep is None:
                    video.unlink()
    print(f"\nclass intervals that hold the sample's fraction: {held} of {total} ({100 * held / total:.0f} %)")


if __name__ == "__main__":
    main()
