"""Recipe -> Video with known truth: three-dimensional Brownian motion through a light sheet, seen by a camera.

Scene, motion, shutter, light and noise have streams of random numbers of their own, so that where the particles are does not
depend on how they are filmed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nta.camera import Camera
from nta.film import Film, check_film, replaced_when_whole, split_output, write_film
from nta.motion import Exposure, Motion, draw_diameters, vibration_um
from nta.optics import add_light, peak_grey, seen_peak_grey, to_px
from nta.recipe import Population, Recipe, make_recipe, read_recipe
from nta.scene import BLINK_CHANCE, add_stuck, make_scene
from nta.truth import sample_distribution, summary

__all__ = [
    "Population",
    "Positions",
    "Recipe",
    "Simulation",
    "draw_diameters",
    "make_recipe",
    "output_paths",
    "peak_grey",
    "read_recipe",
    "sample_distribution",
    "simulate",
    "write_video",
]


@dataclass(frozen=True)
class Positions:
    """Where the particles truly were in one frame: rows are particles, in the reservoir, in view or not.

    Attributes
    ----------
    frame : number in the film
    time_s : when its exposure began
    particle : (n,) int64, the same as long as it is in the reservoir
    x_px, y_px : (n,), mean over the exposure, as the camera sees it: vibration included
    z_um : (n,), mean depth, 0 in focus
    diameter_nm : (n,), hydrodynamic
    peak_grey : (n,), peak height if it stood still there
    present : (n,) bool, in the box of the truth
    """

    frame: int
    time_s: float
    particle: np.ndarray
    x_px: np.ndarray
    y_px: np.ndarray
    z_um: np.ndarray
    diameter_nm: np.ndarray
    peak_grey: np.ndarray
    present: np.ndarray


@dataclass
class Simulation:
    """A video in the making: `frames` films it, `positions` tells where everything is, and `truth` sums up what was filmed.

    Every call starts the film again, and it is always the same one.

    Attributes
    ----------
    dropped : exposures that were lost, by their number among all that were taken
    duplicated : frames of the film that repeat the one before
    """

    recipe: Recipe
    seed: int
    dropped: tuple[int, ...] = field(init=False)
    duplicated: tuple[int, ...] = field(init=False)
    _phase: float = field(init=False, repr=False)
    _seen: list[tuple[np.ndarray, np.ndarray]] = field(init=False, default_factory=list, repr=False)

    def __post_init__(self) -> None:
        recipe, rng = self.recipe, self._random("shutter")
        kept, fresh = rng.random((2, recipe.n_frames)) >= np.array([[recipe.dropped_frames], [recipe.duplicated_frames]])
        kept[:2] = True  # a film has two frames at least
        repeats = np.flatnonzero(~fresh[kept])
        self.dropped = tuple(np.flatnonzero(~kept).tolist())
        self.duplicated = tuple(repeats[repeats > 0].tolist())
        self._phase = rng.uniform(0, 2 * np.pi)

    def _random(self, stream: str) -> np.random.Generator:
        key = ("scene", "motion", "shutter", "light", "noise").index(stream)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(key,)))

    @property
    def n_frames(self) -> int:
        """Return the number of frames of the film: fewer than the recipe's where some were dropped."""
        return self.recipe.n_frames - len(self.dropped)

    @property
    def time_s(self) -> np.ndarray:
        """Return (n_frames,): when the exposure of each frame began, or would have if it did not repeat another."""
        return np.delete(np.arange(self.recipe.n_frames), self.dropped) / self.recipe.fps

    def _exposures(self) -> Iterator[tuple[float, Exposure]]:
        """Yield start and exposure of every frame that is not lost."""
        lost = set(self.dropped)
        for number, exposure in enumerate(Motion(self.recipe, self._random("motion")).exposures()):
            if number not in lost:
                yield number / self.recipe.fps, exposure

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the frames, (height_px, width_px) of uint8 or uint16, and count who is present."""
        recipe = self.recipe
        scene, camera = make_scene(recipe, self._random("scene")), Camera(recipe)
        flickering, noise = self._random("light"), self._random("noise")
        log_sd, dark = np.sqrt(np.log1p(recipe.flicker**2)), recipe.polarity == "dark"
        still, offset = scene.dust if dark else scene.background + scene.dust, scene.hot.copy()
        on = flickering.random(len(scene.blinking)) < 0.5
        repeats, image = set(self.duplicated), np.empty(0)
        self._seen = []
        for frame, (start_s, exposure) in enumerate(self._exposures()):
            # log-normal of mean 1
            power = np.exp(log_sd * flickering.normal() - log_sd**2 / 2)
            on ^= flickering.random(len(on)) < BLINK_CHANCE
            keys = noise.integers(0, 2**64, 2, dtype=np.uint64)
            if frame not in repeats:
                shaken = vibration_um(recipe, start_s, self._phase)
                light = still.copy()
                add_stuck(light, recipe, scene, shaken)
                add_light(light, recipe, exposure, shaken)
                if dark:
                    light = np.maximum(scene.background - light, 0.0)
                light *= power
                offset.flat[scene.blinking] = np.where(on, scene.blink_grey, 0.0)
                image = camera.expose(light, offset, keys)
            # before the yield: a consumer that knows the number of frames never asks for what comes after the last
            present = self._in_box(exposure)
            self._seen.append((exposure.number[present], exposure.diameter_nm[present]))
            yield image

    def positions(self) -> Iterator[Positions]:
        """Yield where the particles are in each frame of `frames`, without filming them."""
        recipe, repeats, start_s, exposure = self.recipe, set(self.duplicated), 0.0, None
        for frame, (new_s, new) in enumerate(self._exposures()):
            if exposure is None or frame not in repeats:
                start_s, exposure = new_s, new
            at = exposure.mean_um()
            column, row = to_px(recipe, at[:, :2] + vibration_um(recipe, start_s, self._phase).mean(axis=0))
            yield Positions(
                frame=frame,
                time_s=start_s,
                particle=exposure.number,
                x_px=column,
                y_px=row,
                z_um=at[:, 2],
                diameter_nm=exposure.diameter_nm,
                peak_grey=seen_peak_grey(recipe, exposure.sphere_nm, at[:, 2]),
                present=self._in_box(exposure),
            )

    def _in_box(self, exposure: Exposure) -> np.ndarray:
        """Return (n,) bool: who is in the field, less what the cell's vibration moves it by, and in the box's depth."""
        recipe = self.recipe
        half = np.array([recipe.width_px * recipe.pixel_size_um, recipe.height_px * recipe.pixel_size_um, recipe.box_depth_um()]) / 2
        return np.all(np.abs(exposure.mean_um()) < half, axis=1)

    def _counted(self) -> tuple[np.ndarray, np.ndarray]:
        """Return diameters and numbers of frames of who was in the box, in the order of their numbers."""
        if not self._seen:
            return np.empty(0), np.empty(0, np.int64)
        numbers, diameters = (np.concatenate(column) for column in zip(*self._seen, strict=True))
        _, first, frames = np.unique(numbers, return_index=True, return_counts=True)
        return diameters[first], frames

    @property
    def present_nm(self) -> np.ndarray:
        """Return the diameters of those who were in the truth's box in the frames filmed so far."""
        return self._counted()[0]

    @property
    def present_frames(self) -> np.ndarray:
        """Return in how many frames each of `present_nm` was there."""
        return self._counted()[1]

    def truth(self) -> dict[str, Any]:
        """Return the two truths: of the sample (the recipe) and of the particles present in the box, in plain values."""
        diameter, frames = self._counted()
        return {
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "frames": self.n_frames,
            "dropped_frames": list(self.dropped),
            "duplicated_frames": list(self.duplicated),
            "sample": summary(*sample_distribution(self.recipe)),
            "present": {
                **summary(diameter, frames),
                "particles": len(diameter),
                "mean_in_view": float(frames.sum()) / self.n_frames,
            },
        }


def simulate(recipe: Recipe, seed: int | None = None) -> tuple[np.ndarray, Simulation]:
    """Film a recipe in memory: the frames, (n_frames, height_px, width_px), and the simulation with its truth."""
    simulation = Simulation(recipe, recipe.seed if seed is None else seed)
    return np.stack(list(simulation.frames())), simulation


def write_video(recipe: Recipe, seed: int | None, output: Path, progress: Callable[[str, int, int], None] | None = None) -> list[Path]:
    """Film `recipe` into `output`, with ``_truth.json`` and ``_truth.csv`` of the same name beside it.

    The suffix decides the format: ``.tif`` (ImageJ TIFF; also without any), ``.ome.tif``, ``.avi`` (FFV1), or ``.png`` for a folder of
    that name, less the suffix, with a PNG a frame. The TIFFs carry pixel size, frame interval, exposure and temperature. The CSV has a
    row per particle that was present: ``diameter_nm,frames_present``. What is there already is replaced. Returns the paths written.

    Raises
    ------
    UsageError
        For a format that cannot be written, a film too long for it, or a folder that holds more than frames.
    """
    from nta.kernels.cache import FILMING, Loader

    simulation = Simulation(recipe, recipe.seed if seed is None else seed)

    def counted() -> Iterator[np.ndarray]:
        for i, image in enumerate(simulation.frames(), start=1):
            # before the yield: the writer never asks for what comes after the last frame
            if progress is not None:
                progress("simulate", i, simulation.n_frames)
            yield image

    paths, suffix = output_paths(output)
    film = Film(recipe, simulation.seed, simulation.time_s, counted())
    check_film(film, paths[0], suffix)
    Loader(*FILMING, progress=progress).load()
    with replaced_when_whole(*paths) as (video, as_json, as_csv):
        write_film(film, video, suffix)
        as_json.write_text(json.dumps(simulation.truth(), indent=2) + "\n", encoding="utf-8")
        rows = "".join(f"{d:.4f},{n}\n" for d, n in zip(simulation.present_nm, simulation.present_frames, strict=True))
        as_csv.write_text("diameter_nm,frames_present\n" + rows, encoding="utf-8")
    return paths


def output_paths(output: Path) -> tuple[list[Path], str]:
    """Return video, ``_truth.json`` and ``_truth.csv`` of `output`, and the suffix that decides the format."""
    base, suffix = split_output(output)
    video = base if suffix.lower() == ".png" else base.with_name(base.name + suffix)
    return [video, *(base.with_name(base.name + end) for end in ("_truth.json", "_truth.csv"))], suffix
