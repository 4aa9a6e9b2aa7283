"""The script that trackpy's users write: `batch`, `link`, `filter_stubs`, `imsd`, and a line through each particle's first lags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from nta.recipe import Recipe

# the range is four SD of a 40 nm particle's step, less where it is too crowded for that
DIAMETER, RANGE_PX, MEMORY, LEAST_FRAMES, LAGS = 9, 24, 1, 5, 4
LOOKED_AT = 5  # frames, in which somebody looks where the mass of particles begins


class Pages:
    """The frames of a TIFF, decoded as they are asked for; `trackpy.batch` asks for each twice, and it is decoded once."""

    def __init__(self, film: tifffile.TiffFile) -> None:
        self.film, self.last = film, (-1, np.empty(0))

    def __len__(self) -> int:
        return len(self.film.pages)

    def __getitem__(self, i: int) -> np.ndarray:
        if not 0 <= i < len(self):
            raise IndexError(i)
        if self.last[0] != i:
            self.last = i, self.film.pages[i].asarray()
        return self.last[1]


def choose_mass(path: Path) -> float:
    """Return the mass that parts noise from particles: the dip of the histogram of its logarithm in a few frames (Otsu 1979)."""
    import trackpy
    from skimage.filters import threshold_otsu

    trackpy.quiet()
    with tifffile.TiffFile(path) as film:
        pages = Pages(film)
        some = [trackpy.locate(pages[i], DIAMETER) for i in np.linspace(0, len(pages) - 1, LOOKED_AT).astype(int)]
    mass = np.concatenate([s["mass"].to_numpy() for s in some])
    return float(np.exp(threshold_otsu(np.log(mass[mass > 0]))))


def size_by_script(path: Path, recipe: Recipe, minmass: float, done: Callable[[str], None] = lambda stage: None) -> tuple[int, np.ndarray]:
    """Return the number of spots, and the diameters of the tracks in nm; `done` is called after each stage."""
    import trackpy

    trackpy.quiet()
    with tifffile.TiffFile(path) as film:
        spots = trackpy.batch(Pages(film), DIAMETER, minmass=minmass, processes=1, engine="numba")
    done("find spots")
    tracks = trackpy.filter_stubs(trackpy.link(spots, RANGE_PX, memory=MEMORY, adaptive_stop=3.0, adaptive_step=0.9), LEAST_FRAMES)
    done("link")
    squares = trackpy.imsd(tracks, recipe.pixel_size_um, recipe.fps, max_lagtime=LAGS)
    lag, slope = squares.index.to_numpy(), []
    for column in squares:
        there = np.isfinite(squares[column].to_numpy())
        if there.sum() >= 2:
            slope.append(np.polyfit(lag[there], squares[column].to_numpy()[there], 1)[0])
    d_um2_s = np.array(slope) / 4
    kelvin, pascal_s = recipe.temperature_c + 273.15, 1e-3 * recipe.viscosity()
    nm = 1e21 * 1.380649e-23 * kelvin / (3 * np.pi * pascal_s * d_um2_s[d_um2_s > 0])
    done("size")
    return len(spots), nm
