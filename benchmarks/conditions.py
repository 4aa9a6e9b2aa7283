"""What flow through the cell and an exposure nobody told cost: the same particles with and without.

``python benchmarks/conditions.py [--seeds 0-2]`` prints two Markdown tables: D50 of the recipe ``standard_100`` at flows of 0, 1 and 5 px a
frame, and of ``bright_60``, ``bright_100`` and ``bright_200`` with the exposure given and unknown, where its estimate stands too.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from dataclasses import replace
from pathlib import Path

import tifffile

import nta
from nta.recipe import Recipe
from nta.simulate import Simulation
from nta.validate import find_recipe

FLOWS_PX = (0.0, 1.0, 5.0)
DIRECTION = (0.8, 0.6)


def film(recipe: Recipe, seed: int, path: Path) -> float:
    """Write a TIFF that states nothing of itself, and return the D50 of the particles present in nm."""
    simulation = Simulation(recipe, seed)
    with tifffile.TiffWriter(path) as tif:
        for frame in simulation.frames():
            tif.write(frame, contiguous=True)
    return float(simulation.truth()["present"]["d50_nm"])


def measure(recipe: Recipe, path: Path, *, exposure_known: bool = True) -> nta.Result:
    exposure_ms = recipe.exposure_ms if exposure_known else None
    return nta.analyze(
        path, pixel_size_um=recipe.pixel_size_um, fps=recipe.fps, temperature_c=recipe.temperature_c, exposure_ms=exposure_ms
    )


def main() -> None:
    """Film, analyse, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-2")
    first, last = (int(s) for s in parser.parse_args().seeds.split("-"))
    print(f"nta {nta.__version__}, Python {platform.python_version()}, {platform.machine()}\n")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "film.tif"
        print("| recipe, seed | flow, px/frame | D50, nm | error |\n|---|---|---|---|")
        standard = find_recipe("standard_100")
        for seed in range(first, last + 1):
            for flow in FLOWS_PX:
                um_s = flow * standard.pixel_size_um * standard.fps
                recipe = replace(standard, drift_um_s=(DIRECTION[0] * um_s, DIRECTION[1] * um_s))
                truth_nm = film(recipe, seed, path)
                d50 = measure(recipe, path).distribution.statistic("d50").value
                print(f"| standard_100, {seed} | {flow:g} | {d50:.1f} | {100 * (d50 / truth_nm - 1):+.1f} % |", flush=True)
        print("\n| recipe, seed | D50 known, nm | D50 unknown, nm | costs | exposure estimated, ms | true, ms |\n|---|---|---|---|---|---|")
        for name in ("bright_60", "bright_100", "bright_200"):
            recipe = find_recipe(name)
            for seed in range(first, last + 1):
                film(recipe, seed, path)
                known, unknown = (measure(recipe, path, exposure_known=told) for told in (True, False))
                a, b = (r.distribution.statistic("d50").value for r in (known, unknown))
                guess = unknown.diffusion.chosen["exposure_ms"]
                row = f"| {name}, {seed} | {a:.1f} | {b:.1f} | {100 * (b / a - 1):+.1f} % | {guess.value:.1f} +- {guess.sd:.1f} | "
                print(row + f"{recipe.exposure_ms:g} |", flush=True)


if __name__ == "__main__":
    main()
