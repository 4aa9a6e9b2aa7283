"""How fast spots are linked, and how well, against trackpy and laptrack; whether links' chances are what they say; growth with the spots.

``python benchmarks/linking.py [--quick] [--part speed quality identical crowd growth chances]`` prints Markdown tables. Jobs run in
turns on the same spots in one process, CPU seconds are medians. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import bench
import numpy as np
from bench import head, row, say
from link_peers import jobs, least_squares, nta_links, nta_tracks, peers, trackpy_links, tuned_range
from link_scenes import Scene, judge, make_spots, pairs

SPEED = {"640x480, 60 in view": Scene(), "640x480, 200 in view": Scene(in_view=200), "small crowd": Scene(25, 160, 120, (100.0, 100.0))}
QUALITY = {
    "60 in view": Scene(),
    "60, flow 5 px": Scene(flow_px=(5.0, 0.0)),
    "60 of 100 nm": Scene(sizes_nm=(100.0, 100.0)),
    "300": Scene(300),
    "300 of 100 nm": Scene(300, sizes_nm=(100.0, 100.0)),
    "800": Scene(800),
    "300, in a plane, one brightness": Scene(300, flat=True),
    "300 of 100 nm, in a plane, one brightness": Scene(300, flat=True, sizes_nm=(100.0, 100.0)),
    "small crowd of 100 nm": Scene(25, 160, 120, (100.0, 100.0)),
}


def speed(options: argparse.Namespace) -> None:
    """CPU of every linker on the same spots."""
    columns = ("scene", "spots", "range, px", "linker", "CPU, us/spot", "wall, us/spot", "nta is faster by", "kernel is faster by")
    say(head(*columns, "found", "wrong"))
    for name, scene in SPEED.items():
        spots, truth = make_spots(scene, options.frames)
        range_px = tuned_range(scene, max(20, options.frames // 5))
        times = bench.in_turns(jobs(spots, range_px), options.repeats)
        kernel = times["nta's kernel, least squares"].cpu_s
        for who, find in peers(range_px).items():
            score, cpu = judge(spots, truth, find(spots)), times[who].cpu_s
            cells = [f"{1e6 * s / len(spots):.2f}" for s in (cpu, times[who].wall_s)]
            faster = (f"{cpu / times['nta'].cpu_s:.1f}", f"{cpu / kernel:.0f}")
            say(row(name, len(spots), range_px, who, *cells, *faster, f"{score.found:.4f}", f"{score.wrong:.4f}"))


def quality(options: argparse.Namespace) -> None:
    """True links found and wrong ones made, at equal range: that of nta, and by trackpy with the range that suits it best."""
    say(head("scene", "range, px", "linker", "found", "over a missed frame", "of the longest 5 %", "wrong", "/ trackpy's at nta's range"))
    for name, scene in QUALITY.items():
        spots, truth = make_spots(scene, max(30, int(options.frames * min(1.0, 100 / scene.in_view))))
        tracks = nta_tracks(spots)
        gate = float(tracks.gate_px[0])
        path = np.outer(spots.frame, [tracks.chosen["flow_x_px"].value, tracks.chosen["flow_y_px"].value])
        still = _moved(spots, path)
        tuned = tuned_range(scene, 30) if scene.flow_px == (0.0, 0.0) else gate
        found = {"nta": (gate, nta_links(spots)), "least squares (trackpy)": (gate, least_squares(still, gate))}
        if tuned != gate:
            found["the same, range tuned"] = (tuned, least_squares(still, tuned))
        scores = {who: judge(spots, truth, particle) for who, (_, particle) in found.items()}
        rival = scores["least squares (trackpy)"].wrong
        for who, score in scores.items():
            shares = (score.found, score.bridged, score.long_found, score.wrong)
            say(row(name, f"{found[who][0]:.1f}", who, *(f"{share:.4f}" for share in shares), f"{score.wrong / rival:.2f}"))


def _moved(spots: Any, path_px: np.ndarray) -> Any:
    return replace(spots, x_px=spots.x_px - path_px[:, 0], y_px=spots.y_px - path_px[:, 1])


def identical(options: argparse.Namespace) -> None:
    """Links in which the kernel's least squares and trackpy differ, and nta and trackpy within the range where nothing is ambiguous."""
    say(head("scene", "range, px", "memory", "links", "of the kernel, not trackpy's", "unambiguous ones of nta, not trackpy's"))
    for scene, ranges in ((Scene(20, sizes_nm=(200.0, 400.0), missed=0.0), (8.0,)), (Scene(), (8.0, 12.0)), (Scene(300), (6.0,))):
        spots, _ = make_spots(scene, options.frames // 3)
        own = _set(spots, nta_links(spots))
        name = f"{scene.in_view:g} of {scene.sizes_nm[0]:g}-{scene.sizes_nm[1]:g} nm"
        for range_px, memory in itertools.product(ranges, (0, 1)):
            alone = _unambiguous(spots, range_px)
            theirs, ours = (_set(spots, find(spots, range_px, memory)) for find in (trackpy_links, least_squares))
            within = {(i, j) for i, j in own if _apart(spots, i, j) < range_px and spots.frame[j] - spots.frame[i] <= memory + 1}
            unlike = sum(alone[i] and alone[j] for i, j in theirs ^ within)
            lone = sum(alone[i] and alone[j] for i, j in theirs)
            say(row(name, range_px, memory, len(theirs), len(theirs ^ ours), f"{unlike} of {lone}"))


def _set(spots: Any, particle: np.ndarray) -> set[tuple[int, int]]:
    first, second = pairs(spots.frame, particle)
    return set(zip(first.tolist(), second.tolist(), strict=True))


def _apart(spots: Any, i: int, j: int) -> float:
    return float(np.hypot(spots.x_px[i] - spots.x_px[j], spots.y_px[i] - spots.y_px[j]))


def _unambiguous(spots: Any, range_px: float) -> np.ndarray:
    """Return whether a spot has at most one other within twice the range in the two frames before and after it, and none in its own."""
    from scipy.spatial import cKDTree

    tree = cKDTree(np.column_stack([spots.x_px, spots.y_px]))
    alone = np.ones(len(spots), bool)
    lapse = {}
    for i, j in tree.query_pairs(3 * range_px):
        apart = int(spots.frame[j]) - int(spots.frame[i])
        if abs(apart) <= 2:
            for key in ((i, apart), (j, -apart)):
                lapse[key] = lapse.get(key, 0) + 1
    for (i, apart), count in lapse.items():
        if count > (0 if apart == 0 else 1):
            alone[i] = False
    return alone


def crowd(options: argparse.Namespace) -> None:
    """5,000 spots a frame with a range of three neighbour distances."""
    scene = Scene(5000, 1000, 1000, flat=True, sizes_nm=(200.0, 200.0), missed=0.0)
    spots, truth = make_spots(scene, 10)
    range_px = 3 / np.sqrt(scene.density)
    times = bench.in_turns({"nta": partial(nta_tracks, spots), "least squares": partial(least_squares, spots, range_px)}, 3)
    say(f"{len(spots) / 10:.0f} spots a frame, range {range_px:.0f} px:")
    for who, particle in (("nta", nta_links(spots)), ("least squares", least_squares(spots, range_px))):
        score = judge(spots, truth, particle)
        say(f"{who}: {1e6 * times[who].cpu_s / len(spots):.2f} us/spot, {score.found:.4f} of the true links, {score.wrong:.4f} wrong")


def growth(options: argparse.Namespace) -> None:
    """CPU a spot at one density over fields, and over the length of the film."""
    say(head("field, px", "frames", "spots", "nta, us/spot", "kernel, us/spot"))
    base = 1 if options.quick else 2
    for factor, frames in ((0.5, 200), (1, 200), (2, 200), (4, 200), (1, 50), (1, 800)):
        side = int(400 * np.sqrt(factor))
        spots, _ = make_spots(Scene(100 * factor, side, side), frames * base // 2)
        times = bench.in_turns({"nta": partial(nta_tracks, spots), "kernel": partial(least_squares, spots, 10.0)}, options.repeats)
        say(row(f"{side} x {side}", spots.n_frames, len(spots), *(f"{1e6 * t.cpu_s / len(spots):.2f}" for t in times.values())))


def chances(options: argparse.Namespace) -> None:
    """Wrong links expected from their chances and seen, and of tracks that are not one particle."""
    say(head("scene", "wrong expected", "wrong seen", "ratio", "tracks of two expected", "seen"))
    for name, scene in QUALITY.items():
        spots, truth = make_spots(scene, max(30, int(options.frames * min(1.0, 100 / scene.in_view))))
        order = np.lexsort((spots.y_px, spots.x_px, spots.frame))
        tracks = nta_tracks(spots)
        particle = np.empty(len(spots), np.int64)
        particle[np.lexsort((tracks.spots.y_px, tracks.spots.x_px, tracks.spots.frame))] = truth[order]
        inside = np.ones(len(spots), bool)
        inside[tracks.start[:-1]] = False
        wrong = inside & (np.diff(particle, prepend=-1) != 0)
        expected = float(np.sum(1 - tracks.link_chance[inside]))
        mixed = np.add.reduceat(wrong, tracks.start[:-1], dtype=int) > 0
        kept = tracks.n_spots >= 5
        shares = (float(np.mean(1 - tracks.one_particle[kept])), float(mixed[kept].mean()))
        n = int(inside.sum())
        say(row(name, f"{expected / n:.4f}", f"{wrong.sum() / n:.4f}", f"{expected / wrong.sum():.2f}", *(f"{s:.3f}" for s in shares)))


PARTS = {f.__name__: f for f in (speed, quality, identical, crowd, growth, chances)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", nargs="*", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    options.frames, options.repeats = (60, 3) if options.quick else (300, 7)
    bench.one_thread()
    say(bench.environment())
    for part in options.part:
        say(f"\n### {part}\n\n{PARTS[part].__doc__}\n")
        PARTS[part](options)


if __name__ == "__main__":
    main()
