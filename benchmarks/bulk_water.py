"""A real film with a known answer: latex spheres of 1 um in water, as PNG frames and as the compressed movie, whole and in halves.

``python benchmarks/bulk_water.py FOLDER`` prints a Markdown table; FOLDER holds ``bulk_water/`` (300 PNG frames) and ``bulk-water.mov``
(480 frames) of soft-matter/trackpy-examples.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import nta

NOMINAL_NM = 1000.0
# what is known of the film; the temperature is a guess of room temperature
KNOWN = {"polarity": "dark", "pixel_size_um": 1 / 2.85, "fps": 24.0, "temperature_c": 22.0, "temperature_sd_c": 2.0}
PARTS = (("bulk_water", None), ("bulk_water", "0:150"), ("bulk_water", "150:300"))
PARTS += (("bulk-water.mov", None), ("bulk-water.mov", "0:240"), ("bulk-water.mov", "240:480"))


def main() -> None:
    """Analyse every part, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print(f"nta {nta.__version__}, Python {platform.python_version()}, {platform.machine()}\n")
    print("| film | frames | D50, nm | 95 % interval | D10-D90 | stride | effective exposure, ms | correlated_frames |\n|" + "---|" * 8)
    for name, frames in PARTS:
        result = nta.analyze(folder / name, frames=frames, **KNOWN)
        d10, d50, d90 = (result.distribution.statistic(key) for key in ("d10", "d50", "d90"))
        chosen = result.diffusion.chosen
        exposure = chosen["effective_exposure_ms"].value if "effective_exposure_ms" in chosen else float("nan")
        told = "told" if "correlated_frames" in {n.code for n in result.notices} else "not told"
        row = f"| {name} | {frames or 'all'} | {d50.value:.0f} | {d50.low:.0f}-{d50.high:.0f} | {d10.value:.0f}-{d90.value:.0f} | "
        print(row + f"{chosen['stride_frames'].value} | {exposure:.0f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
