"""What the search for spots costs against the size of a frame, the spots in it, its pixel type, and the length of the film.

``python benchmarks/scaling.py [--quick] [--frames 200]`` prints Markdown tables: CPU of `find_spots` on films in memory, one thread, all it
does once a film included; the marginal cost is that of the second half of the film.
"""

from __future__ import annotations

import argparse

import bench
from bench import say
from peers import nta_spots
from scenes import Scene, make_film

SHAPES = ((320, 240), (640, 480), (1280, 1024), (2048, 2048))
SPOTS = (0, 20, 60, 200, 600)
DENSITY = 60 / (640 * 480)


def cost(what: str, scene: Scene, options: argparse.Namespace) -> None:
    """Print the row of one scene."""
    # large frames get shorter films, to save memory; the still background takes 51 frames, which the half must have too
    film = make_film(scene, max(110, min(options.frames, options.frames * 1280 * 1024 // (scene.width * scene.height))))
    half = film.first(len(film) // 2)
    times = bench.in_turns({"whole": lambda: nta_spots(film), "half": lambda: nta_spots(half)}, options.repeats)
    whole = times["whole"].cpu_s
    added = (whole - times["half"].cpu_s) / (len(film) - len(half))
    pixels = scene.width * scene.height / 1e6
    cells = (f"{1e3 * whole / len(film):.3f}", f"{1e3 * added:.3f}", f"{1e3 * whole / len(film) / pixels:.2f}")
    say(bench.row(what, len(film), scene.spots, *cells, f"{whole - added * len(film):.2f}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few frames and repeats, small frames")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.quick:
        options.frames, options.repeats = 110, 2
    bench.one_thread()
    say(bench.environment())
    names = ("frames", "spots a frame", "CPU, ms/frame", "marginal, ms/frame", "ms a megapixel", "once a film, s")
    say(bench.head("size, the same density", *names))
    for width, height in SHAPES[: 2 if options.quick else None]:
        cost(f"{width}x{height}", Scene(width=width, height=height, spots=round(DENSITY * width * height), snr=10.0), options)
    say(f"\n{bench.head('spots, 640x480', *names)}")
    for spots in SPOTS:
        cost(f"{spots}", Scene(spots=spots, snr=10.0), options)
    say(f"\n{bench.head('pixels, 640x480', *names)}")
    for dtype in ("uint8", "uint16", "float32"):
        cost(dtype, Scene(snr=10.0, dtype=dtype), options)


if __name__ == "__main__":
    main()
