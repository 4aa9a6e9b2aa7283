"""Whether false spots are as many as were asked for, whatever the light, and what stands still among particles that move.

``python benchmarks/false_spots.py [--quick] [--part asked still]`` prints Markdown tables. *Asked*: films of 320x240 without particles and
with 10 a frame, searched for 0.1 false spots a frame (500 frames) and 0.01 (3000 frames); a spot is false when it lies further than
4 px from every particle. The interval is Poisson's. *Still*: nta's simulated recipe `bright_100` with 30 stuck particles and 50 hot
pixels against the same film without; sized tracks that are theirs, and the share of moving particles found.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import bench
import numpy as np
from bench import say
from peers import nta_spots
from scenes import Film, Scene, make_film
from scipy.spatial import KDTree
from scipy.stats import chi2

import nta
from nta.recipe import Recipe
from nta.scene import make_scene
from nta.simulate import Simulation, write_video
from nta.validate import find_recipe

LIGHTS = {
    "even": {},
    "uneven, 60 %": {"uneven": 0.6},
    "30 % less over the film, moving by 8 px": {"uneven": 0.6, "level_drift": 0.3, "pattern_drift_px": 8.0},
    "40 hot pixels": {"hot": 40},
    "40 hot pixels with noise of their own": {"hot": 40, "hot_noise": True},
}
CAMERAS = {
    "uint8, 0.5 e-/grey": {"electrons_per_grey": 0.5},
    "uint8, 6 e-/grey": {"electrons_per_grey": 6.0},
    "float32, Gaussian": {"electrons_per_grey": np.inf, "dtype": "float32"},
}
ASKED = ((0.1, 500), (0.01, 3000))
PARTICLES = 10
FAR_PX = 4.0
STUCK, HOT = 30, 50
STILL_PX, STILL_SHARE = 2.5, 0.8  # a track is a still thing's when so many of its spots lie so near to it
SEEN_SNR, SEEN_RIM_PX = 8.0, 10.0  # of particles that must be found: peak over the background's noise, distance from the edge


def n_false(film: Film, asked: float) -> int:
    """Return how many spots are no particles; what lies on a hot pixel is none."""
    spots = nta_spots(film, false_spots_per_frame=asked)
    total = 0
    for i in range(len(film)):
        here = slice(*np.searchsorted(spots.frame, (i, i + 1)))
        if film.x_px.shape[1] and here.start < here.stop:
            true = KDTree(np.column_stack([film.x_px[i], film.y_px[i]]))
            total += int(np.sum(true.query(np.column_stack([spots.x_px[here], spots.y_px[here]]))[0] > FAR_PX))
        else:
            total += here.stop - here.start
    return total


def asked_for(options: argparse.Namespace) -> None:
    """Print false spots a frame beside those asked for."""
    say("One row in twenty misses by chance.\n")
    say(
        bench.head(
            "camera", "light", "particles a frame", "asked a frame", "frames", "seen a frame", "95 % interval", "seen / asked", "holds it"
        )
    )
    total = {asked: [0, 0] for asked, _ in ASKED}
    cases = [(camera, light, n) for camera in CAMERAS for light in LIGHTS for n in (0, PARTICLES)]
    for seed, (camera, name, particles) in enumerate(cases):
        if camera.startswith("float32") and "hot_noise" in LIGHTS[name]:
            continue  # there is no photon noise
        scene = Scene(height=240, width=320, spots=particles, snr=10.0, seed=seed, **CAMERAS[camera], **LIGHTS[name])
        for asked, n_frames in ASKED:
            film = make_film(scene, n_frames // (10 if options.quick else 1))
            n = n_false(film, asked)
            low, high = _poisson(n)
            total[asked] = [total[asked][0] + n, total[asked][1] + len(film)]
            cells = (n / len(film), f"{low / len(film):.4f}-{high / len(film):.4f}", n / len(film) / asked)
            good = bench.verdict(low <= asked * len(film) <= high)
            say(bench.row(camera, name, particles, asked, len(film), f"{cells[0]:.4f}", cells[1], f"{cells[2]:.2f}", good))
    for asked, (n, frames) in total.items():
        low, high = (x / frames / asked for x in _poisson(n))
        say(f"\nAll together, {asked} a frame asked: {n / frames / asked:.3f} times as many seen ({low:.3f}-{high:.3f})")


def _poisson(n: int) -> tuple[float, float]:
    """Return the 95 % interval of what is expected where `n` were counted."""
    return chi2.ppf(0.025, 2 * n) / 2 if n else 0.0, chi2.ppf(0.975, 2 * n + 2) / 2


def still(options: argparse.Namespace) -> None:
    """Print what 30 stuck particles and 50 hot pixels do to a film."""
    say()
    say(bench.head("seed", "sized tracks", "of them stuck or hot", "moving found, %", "without still things, %", "changes by, points"))
    plain = replace(find_recipe("bright_100"), stuck_particles=0, hot_pixels=0, n_frames=100 if options.quick else 600)
    full = replace(plain, stuck_particles=STUCK, hot_pixels=HOT)
    theirs, change = 0, []
    for seed in range(2 if options.quick else 5):
        (sized, bad, recall), (_, _, alone) = (_analyse(recipe, seed) for recipe in (full, plain))
        theirs, change = theirs + bad, [*change, recall - alone]
        say(bench.row(seed, sized, bad, f"{recall:.2f}", f"{alone:.2f}", f"{recall - alone:+.2f}"))
    say(f"\nSized tracks that are stuck particles or hot pixels: {theirs}, at most 1: {bench.verdict(theirs <= 1)}")
    worst = min(change)
    say(f"Moving particles found, against the film without still things: {worst:+.2f} points at worst, -1: {bench.verdict(worst >= -1)}")


def _analyse(recipe: Recipe, seed: int) -> tuple[int, int, float]:
    """Return the sized tracks, those of still things, and the share of moving particles found, in percent."""
    with tempfile.TemporaryDirectory() as scratch:
        write_video(recipe, seed, Path(scratch) / "film.tif")
        result = nta.analyze(Path(scratch) / "film.tif")
    tracks = result.tracks
    sized = np.flatnonzero(np.isfinite(result.sizes.diameter_nm) & ((result.sizes.flags & np.uint32(sum(nta.result.LEFT_OUT))) == 0))
    scene = make_scene(recipe, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,))))
    hot = np.argwhere(scene.hot)[:, ::-1]
    places, bad = np.concatenate([scene.stuck[:, :2], hot]), 0
    for track in sized if len(places) else ():
        rows = slice(tracks.start[track], tracks.start[track + 1])
        far, which = KDTree(places).query(np.column_stack([tracks.spots.x_px[rows], tracks.spots.y_px[rows]]))
        bad += bool(np.mean((far < STILL_PX) & (which == np.bincount(which).argmax())) >= STILL_SHARE)
    return len(sized), bad, _recall(recipe, seed, result)


def _recall(recipe: Recipe, seed: int, result: nta.Result) -> float:
    """Return the percentage found of particles that are bright and away from the edges."""
    noise = np.sqrt(recipe.background_grey / recipe.electrons_per_grey + recipe.read_noise_grey**2 + 1 / 12)
    found = total = 0
    # the spots of a result are ordered by track
    order = np.argsort(result.spots.frame, kind="stable")
    frame, x_px, y_px = (getattr(result.spots, name)[order] for name in ("frame", "x_px", "y_px"))
    for at in Simulation(recipe, seed).positions():
        inside = (np.minimum(at.x_px, at.y_px) > SEEN_RIM_PX) & (at.x_px < recipe.width_px - SEEN_RIM_PX)
        seen = inside & (at.y_px < recipe.height_px - SEEN_RIM_PX) & (at.peak_grey > SEEN_SNR * noise)
        here = slice(*np.searchsorted(frame, (at.frame, at.frame + 1)))
        total += int(seen.sum())
        if seen.any() and here.start < here.stop:
            spots = KDTree(np.column_stack([x_px[here], y_px[here]]))
            found += int(np.sum(spots.query(np.column_stack([at.x_px[seen], at.y_px[seen]]))[0] < STILL_PX))
    return 100 * found / max(1, total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the frames, two seeds")
    parser.add_argument("--part", nargs="+", choices=("asked", "still"), default=("asked", "still"))
    options = parser.parse_args()
    bench.one_thread()
    say(bench.environment())
    for part in options.part:
        {"asked": asked_for, "still": still}[part](options)


if __name__ == "__main__":
    main()
