"""Whether the answer hangs on the false spots asked for: ten times as many, and a tenth.

``python benchmarks/sensitivity.py [--quick] [--keep FOLDER]`` prints a Markdown table: per standard video (seed 0) what D50 and the class
fractions change by. ``--keep`` leaves the videos, 100 MB each, in a folder to be used again.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import bench
from bench import say

import nta
from nta.simulate import write_video
from nta.validate import find_recipe

RECIPES = ("standard_100", "standard_100_150", "bright_ev", "bright_80_200", "hard_100")
ASKED, TIMES = 0.1, (10.0, 0.1)
D50_BAR, CLASS_BAR = 2.0, 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--quick", action="store_true", help="120 frames")
    parser.add_argument("--keep", type=Path, help="folder in which the videos stay")
    options = parser.parse_args()
    bench.one_thread()
    say(bench.environment())
    say(f"Bars: D50 changes by less than {D50_BAR:g} %, no class fraction by more than {CLASS_BAR:g}.\n")
    say(bench.head("video", "false spots a frame", "spots", "tracks sized", "D50, nm", "changes by", "largest change of a class", "bars"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.recipes:
            recipe = find_recipe(name)
            if options.quick:
                recipe = replace(recipe, name=f"{recipe.name}_quick", n_frames=120)
            path = folder / f"{recipe.name}_0.tif"
            if not path.exists():
                write_video(recipe, 0, path)
            _compare(path)
            if options.keep is None:
                path.unlink()


def _compare(path: Path) -> None:
    """Print the rows of one video."""
    first = None
    for asked in (ASKED, *(ASKED * times for times in TIMES)):
        result = nta.analyze(path, false_spots_per_frame=asked)
        counts, d50 = result.counts(), result.distribution.statistic("d50").value
        shares = [f.value for f in result.classes.fraction]
        cells = (f"{asked:g}", counts["spots"], counts["tracks_sized"], f"{d50:.1f}")
        if first is None:
            first = d50, shares
            say(bench.row(path.stem, *cells, "", "", ""))
            continue
        change = 100 * (d50 / first[0] - 1)
        largest = max(abs(a - b) for a, b in zip(shares, first[1], strict=True))
        good = bench.verdict(abs(change) < D50_BAR and largest < CLASS_BAR)
        say(bench.row(path.stem, *cells, f"{change:+.2f} %", f"{largest:.4f}", good))


if __name__ == "__main__":
    main()
