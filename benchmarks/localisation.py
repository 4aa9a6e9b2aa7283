"""How well spots are placed: error against the Cramer-Rao bound, pulls of the errors told, pixel locking; lone spots of known truth.

``python benchmarks/localisation.py [--quick] [--frames 300]`` prints Markdown tables. Spots lie 12 px apart at least. The bound knows the
camera's exact noise; unweighted least squares, which a matched filter amounts to, cannot come nearer to it than the ratio beside it.
"""

from __future__ import annotations

import argparse
import math

import bench
import numpy as np
from bench import say
from bounds import bounds_px
from peers import by_frame, errors_px, match, nta_spots, tuned_peers
from scenes import SNRS, Film, Scene, make_film
from scipy.stats import kstest

from nta.spots import Spots

APART_PX = 12.0
ERROR_BAR, PULL_BAR = 1.10, (0.95, 1.10)
MAD_TO_SD = 1.4826
CAMERAS = (0.5, 6.0)  # electrons per grey level


def errors(scene: Scene, options: argparse.Namespace) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return of each detector: its name, errors of x, true x, and the bounds of the spots it found, exact and of least squares."""
    training = make_film(Scene(**{**vars(scene), "seed": 1}), options.training_frames)
    film = make_film(scene, options.frames)
    bounds = np.stack([bounds_px(scene, x, y) for x, y in zip(film.x_px, film.y_px, strict=True)])
    spots = nta_spots(film)
    found = {"nta": by_frame(spots)}
    for peer in tuned_peers(training, ("trackpy", "opencv")):
        if peer.name in ("trackpy", "opencv"):
            found[peer.name] = peer(film.frames[: options.peer_frames])
    seen = []
    for name, places in found.items():
        error, frame, true = errors_px(places, film)
        seen.append((name, error, film.x_px[frame, true], bounds[frame, 0, true], bounds[frame, 1, true]))
    _pulls(scene, spots, film, options)
    return seen


def _pulls(scene: Scene, spots: Spots, film: Film, options: argparse.Namespace) -> None:
    """Put into `options.pulls` a row on errors over the errors told."""
    edge = np.searchsorted(spots.frame, np.arange(len(film) + 1))
    pulls = []
    for i in range(len(film)):
        rows = slice(edge[i], edge[i + 1])
        for at, sd, truth in ((spots.x_px, spots.x_sd_px, film.x_px), (spots.y_px, spots.y_sd_px, film.y_px)):
            found, true = match(spots.x_px[rows], spots.y_px[rows], film.x_px[i], film.y_px[i])
            pulls.append((at[rows][found] - truth[i][true]) / sd[rows][found])
    pull = np.concatenate(pulls)
    plain, robust = float(np.std(pull)), MAD_TO_SD * float(np.median(np.abs(pull - np.median(pull))))
    good = bench.verdict(PULL_BAR[0] <= plain <= PULL_BAR[1] and PULL_BAR[0] <= robust <= PULL_BAR[1])
    mean = f"{pull.mean():+.3f}"
    options.pulls.append(
        bench.row(f"{scene.electrons_per_grey:g}", f"{scene.snr:g}", len(pull), mean, f"{plain:.3f}", f"{robust:.3f}", good)
    )


def locking(name: str, scene: Scene, error: np.ndarray, true_x: np.ndarray) -> str:
    """Return a row on what errors have to do with the place within the pixel."""
    found, phase = (true_x + error) % 1, true_x % 1
    ks = kstest(found, "uniform")
    # the first harmonic of the error over the pixel; its SD is that of a mean, times sqrt(2)
    wave = 2 * np.mean(error[:, None] * np.column_stack([np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)]), axis=0)
    sd = math.sqrt(2 / len(error)) * float(np.std(error))
    # errors of spots left of the pixel's middle against those to its right: one distribution, if the phase says nothing
    dependence = kstest(error[phase < 0.5], error[phase >= 0.5])
    cells = (f"{ks.statistic:.4f}", f"{ks.pvalue:.3f}", f"{dependence.pvalue:.3f}", f"{math.hypot(*wave):.4f} +- {sd:.4f}")
    return bench.row(f"{scene.electrons_per_grey:g}", f"{scene.snr:g}", name, len(error), *cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few frames")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--peer-frames", type=int, default=100)
    parser.add_argument("--training-frames", type=int, default=4)
    parser.add_argument("--snr", type=float, nargs="+", default=SNRS)
    options = parser.parse_args()
    if options.quick:
        options.frames, options.peer_frames, options.training_frames = 60, 10, 2
    options.pulls, phases = [], []
    bench.one_thread()
    say(bench.environment())
    names = (
        "e-/grey",
        "peak SNR",
        "detector",
        "spots",
        "RMSE of x, px",
        "bound, px",
        "RMSE / bound",
        "least squares / bound",
        "mean, px",
        "bar",
    )
    say(bench.head(*names))
    for electrons in CAMERAS:
        for snr in options.snr:
            scene = Scene(snr=snr, electrons_per_grey=electrons, apart_px=APART_PX)
            for name, error, true_x, exact, plain in errors(scene, options):
                rmse, bound, least_squares = (float(np.sqrt(np.mean(a**2))) for a in (error, exact, plain))
                bar = bench.verdict(rmse <= ERROR_BAR * bound) if name == "nta" else ""
                cells = (f"{rmse:.4f}", f"{bound:.4f}", f"{rmse / bound:.3f}", f"{least_squares / bound:.3f}", f"{error.mean():+.4f}", bar)
                say(bench.row(f"{electrons:g}", f"{snr:g}", name, len(error), *cells))
                phases.append(locking(name, scene, error, true_x))
    say("\nErrors over the errors told by nta, x and y; plain SD and 1.4826 times the median absolute deviation.\n")
    say(f"{bench.head('e-/grey', 'peak SNR', 'errors', 'mean', 'SD', 'robust SD', 'bar 0.95-1.1')}\n" + "\n".join(options.pulls))
    say("\nPixel locking: fractional parts against a uniform distribution, errors against the true place within the pixel.\n")
    names = (
        "e-/grey",
        "peak SNR",
        "detector",
        "spots",
        "KS of fractions",
        "p",
        "p, error and half of pixel",
        "error's wave over the pixel, px",
    )
    say(f"{bench.head(*names)}\n" + "\n".join(phases))


if __name__ == "__main__":
    main()
