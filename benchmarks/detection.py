"""How fast spots are found, and how well, against tuned peers; what the machine could do at best; threads and memory.

``python benchmarks/detection.py [--quick] [--frames 749] [--part speed limits threads]`` prints Markdown tables. CPU seconds are those of
all threads, every numeric library kept to one; jobs run in turns on the same frames. nta finds the spots of a whole film, with all it
does once a film, and the cost is spread over the frames; its marginal cost is what the second half of the film adds. Peers are told
nothing but a share of the film's frames, evenly spread, since their cost is one of frames.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import bench
import numpy as np
import tifffile
from bench import say
from peers import Tuned, by_frame, f1, nta_spots, tuned_peers
from scenes import SNRS, Film, Scene, make_film
from scipy.ndimage import gaussian_filter

from nta.settings import Settings
from nta.spots import Spots, find_spots
from nta.video import open_video

KINDS = {
    "640x480, 60 spots": Scene(),
    "640x480, 200 spots": Scene(spots=200),
    "1280x1024, 60 spots": Scene(width=1280, height=1024),
}
BARS = {"640x480, 60 spots": 60.0, "640x480, 200 spots": 22.0, "1280x1024, 60 spots": 60.0}  # times tuned trackpy's speed
OPENCV_BAR, THREADS_BAR = 4.0, 1.6
FALSE_SPOTS = 0.1  # a frame, nta's default
TRAINING_SPOTS = 360  # in the frames that peers are tuned on; fewer of large frames, whose tuning takes long


def speed(options: argparse.Namespace) -> None:
    """Print cost and F1 of every scene and peer."""
    chosen: list[str] = []
    bars: list[str] = []
    names = ("scene", "peak SNR", "detector", "CPU, ms/frame", "wall, ms/frame", "nta is faster by", "F1", "precision", "recall")
    say(bench.head(*names))
    for kind, scene in KINDS.items():
        for snr in options.snr:
            training = make_film(replace(scene, snr=snr, seed=1), _training_frames(scene, options.quick))
            peers = tuned_peers(training, tuple(options.peers))
            chosen += [bench.row(kind, f"{snr:g}", peer.name, peer) for peer in peers]
            film = make_film(replace(scene, snr=snr), options.frames)
            bars += _race(kind, snr, film, peers, options)
    say("\nMarginal: what the second half of the film adds, which is free of what is done once a film.\n")
    say(f"{bench.head('scene', 'peak SNR', 'peer', 'tuned to')}\n" + "\n".join(chosen))
    say(f"\n{bench.head('scene', 'peak SNR', 'bar', 'seen', '')}\n" + "\n".join(bars))


def _training_frames(scene: Scene, quick: bool) -> int:
    if quick:
        return 2
    return 4 if scene.width > 1000 else max(3, TRAINING_SPOTS // scene.spots)


def _race(kind: str, snr: float, film: Film, peers: list[Tuned], options: argparse.Namespace) -> list[str]:
    """Print the rows of one scene, and return those of its bars."""
    half = film.first(len(film) // 2)
    some = np.linspace(0, len(film) - 1, min(options.peer_frames, len(film))).astype(int)
    frames = film.frames[some]
    few = Film(film.scene, frames, film.x_px[some], film.y_px[some], film.still)
    jobs: dict[str, Any] = {"nta": lambda: nta_spots(film), "half": lambda: nta_spots(half)}
    jobs |= {peer.name: lambda peer=peer: peer(frames) for peer in peers}
    times = bench.in_turns(jobs, options.repeats)
    ms = {name: 1e3 * times[name].cpu_s / (len(film) if name == "nta" else len(frames)) for name in jobs if name != "half"}
    wall = {name: 1e3 * times[name].wall_s / (len(film) if name == "nta" else len(frames)) for name in ms}
    places = by_frame(nta_spots(film))
    scores = {"nta": f1(places, film)} | {peer.name: f1(peer(frames), few) for peer in peers}
    on_few = f1([places[i] for i in some], few)[0]
    for name, cost in ms.items():
        ratio = "" if name == "nta" else f"{cost / ms['nta']:.1f}"
        say(bench.row(kind, f"{snr:g}", name, f"{cost:.2f}", f"{wall[name]:.2f}", ratio, *(f"{s:.4f}" for s in scores[name])))
    added = 1e3 * (times["nta"].cpu_s - times["half"].cpu_s) / (len(film) - len(half))
    say(bench.row(kind, f"{snr:g}", "nta, marginal", f"{added:.2f}", "", "", "", "", ""))
    bars = []
    for name, least in (("trackpy", BARS[kind]), ("opencv", OPENCV_BAR)):
        if name in ms:
            ratio = ms[name] / ms["nta"]
            bars.append(bench.row(kind, f"{snr:g}", f"{least:g} times as fast as {name}", f"{ratio:.1f}", bench.verdict(ratio >= least)))
    if "trackpy" in scores:
        # of the same frames; the false spots that were asked for are no fault
        theirs = max(scores[name][0] for name in ("trackpy", "trackpy, fast"))
        good = on_few >= theirs - FALSE_SPOTS / (2 * film.scene.spots)
        seen = f"{on_few:.4f}, {theirs:.4f}"
        bars.append(bench.row(kind, f"{snr:g}", "F1 of nta at least the better tuned trackpy's, same frames", seen, bench.verdict(good)))
    return bars


def limits(options: argparse.Namespace) -> None:
    """Print what the least that can be done to a frame costs."""
    cv2 = bench.optional("cv2")
    say(f"\n{bench.head('frame', 'what', 'CPU, ms/frame')}")
    for shape in ((480, 640), (1024, 1280)):
        frames = np.random.default_rng(0).integers(0, 60, (20, *shape), np.uint8)
        grey = frames.astype(np.float32)
        jobs: dict[str, Any] = {
            "read memory (sum of 8 bytes at a time)": lambda frames=frames: [f.view(np.uint64).sum() for f in frames],
            "one numpy pass (to float32)": lambda frames=frames: [f.astype(np.float32) for f in frames],
            "separable Gaussian, scipy, float32": lambda grey=grey: [gaussian_filter(f, 1.4) for f in grey],
        }
        if cv2 is not None:
            jobs["separable Gaussian, OpenCV, float32"] = lambda grey=grey: [cv2.GaussianBlur(f, (0, 0), 1.4) for f in grey]
        for name, times in bench.in_turns(jobs, options.repeats).items():
            say(bench.row(f"{shape[1]}x{shape[0]}", name, f"{1e3 * times.cpu_s / len(frames):.3f}"))


def threads(options: argparse.Namespace) -> None:
    """Print wall of one and two threads from a file, whether they find the same bytes, and the memory that a process holds."""
    say("\nFrom an uncompressed TIFF, decoding included.\n")
    say(bench.head("film", "wall 1 thread, s", "wall 2 threads, s", "ratio", "bar", "same bytes", "peak memory, MB"))
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("640x480, 60 spots", "1280x1024, 60 spots"):
            path = Path(scratch) / "film.tif"
            write(make_film(replace(KINDS[kind], snr=10.0), options.frames), path)
            times = bench.in_turns({"1": lambda path=path: from_file(path, 1), "2": lambda path=path: from_file(path, 2)}, options.repeats)
            same = all(_same(from_file(path, 1), from_file(path, 2), field.name) for field in fields(Spots))
            ratio = times["1"].wall_s / times["2"].wall_s
            cost = bench.in_child(from_file, path, 2)
            memory = f"{cost.peak_mb:.0f} ({cost.before_mb:.0f} of it before)"
            bar = bench.verdict(ratio >= THREADS_BAR)
            name = f"{kind}, {options.frames} frames"
            say(
                bench.row(
                    name, f"{times['1'].wall_s:.2f}", f"{times['2'].wall_s:.2f}", f"{ratio:.2f}", bar, "yes" if same else "**no**", memory
                )
            )


def write(film: Film, path: Path) -> None:
    with tifffile.TiffWriter(path) as tif:
        for frame in film.frames:
            tif.write(frame, contiguous=True)


def from_file(path: Path, n: int) -> Spots:
    """Open, decode and search a film."""
    settings = Settings().with_options(pixel_size_um=0.166, fps=25.0)
    with open_video(path, settings) as video:
        return find_spots(video, settings, n)


def _same(a: Spots, b: Spots, name: str) -> bool:
    one, two = getattr(a, name), getattr(b, name)
    return one.tobytes() == two.tobytes() if isinstance(one, np.ndarray) else one == two


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few frames and repeats")
    parser.add_argument("--frames", type=int, default=749, help="of a film: 30 s at 25 a second")
    parser.add_argument("--peer-frames", type=int, default=20, help="of them that peers are given")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--snr", type=float, nargs="+", default=SNRS)
    parser.add_argument("--peers", nargs="+", default=(), metavar="PEER", help="some of trackpy, blob_log, peak_local_max, opencv")
    parser.add_argument("--part", nargs="+", choices=("speed", "limits", "threads"), default=("speed", "limits", "threads"))
    options = parser.parse_args()
    if options.quick:
        options.frames, options.peer_frames, options.repeats = min(options.frames, 120), 6, 3
    bench.one_thread()
    say(bench.environment())
    for part in options.part:
        {"speed": speed, "limits": limits, "threads": threads}[part](options)


if __name__ == "__main__":
    main()
