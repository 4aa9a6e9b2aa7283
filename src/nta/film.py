"""Frames -> file: ImageJ TIFF, OME-TIFF, FFV1 AVI or a folder of PNG, all lossless, there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from nta.errors import UsageError
from nta.recipe import Recipe

_OTHERS = ".mp4 .m4v .mov .mkv .wmv .webm .mpg .gif .jpg .jpeg .bmp .zip".split()
_CLASSIC_BYTES = 2**32 - 2**25  # beyond, offsets in a TIFF need 64 bits, which ImageJ's format does not have

# noise hardly shrinks: the lowest level takes half the time of the highest and 5 % more room
_DEFLATE: dict[str, Any] = {"compression": "zlib", "compressionargs": {"level": 1}}


@dataclass(frozen=True)
class Film:
    """Frames on their way into a file; `time_s` (n_frames,) is when each was taken."""

    recipe: Recipe
    seed: int
    time_s: np.ndarray
    frames: Iterator[np.ndarray]

    @property
    def dtype(self) -> type:
        """Return the pixels' type."""
        return np.uint8 if self.recipe.bits == 8 else np.uint16

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return frames, rows, columns."""
        return len(self.time_s), self.recipe.height_px, self.recipe.width_px

    @property
    def n_bytes(self) -> int:
        """Return the size of all pixels."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def split_output(output: Path) -> tuple[Path, str]:
    """Return the path less its suffix, and the suffix, which decides the format: `.tif` when there is none.

    A name such as ``x_0.5`` has none: only those of images and films count.

    Raises
    ------
    UsageError
        For a format that cannot be written.
    """
    name = output.name
    for suffix in sorted(WRITERS, key=len, reverse=True):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return output.with_name(name[: -len(suffix)]), name[-len(suffix) :]
    if output.suffix.lower() in _OTHERS:
        raise UsageError(f"--output: {output} cannot be written; give {', '.join(WRITERS)} or no suffix, which is .tif")
    return output, ".tif"


def check_film(film: Film, path: Path, suffix: str) -> None:
    """Refuse what cannot be written to `path`, before any work.

    Raises
    ------
    UsageError
        For an ImageJ TIFF above 4 GB, and for a folder of frames in which something else lies.
    """
    if suffix.lower() in (".tif", ".tiff") and film.n_bytes > _CLASSIC_BYTES:
        raise UsageError(f"--output: {path} would be {film.n_bytes / 1e9:.1f} GB, more than ImageJ's TIFF holds; give .ome.tif or .avi")
    if suffix.lower() == ".png" and path.is_dir():
        others = sorted(p.name for p in path.iterdir() if p.suffix != ".png" or not p.stem.isdigit())
        if others:
            raise UsageError(f"--output: the folder {path} holds {others[0]}, which is no frame; give another -o")


def write_film(film: Film, path: Path, suffix: str) -> None:
    """Write `film` to `path`, a file or for ``.png`` a new folder, in the format of `suffix`."""
    WRITERS[suffix.lower()](film, path)


@contextmanager
def replaced_when_whole(*paths: Path) -> Iterator[list[Path]]:
    """Give as many places to write to, beside `paths`; when the block ends what is there goes to `paths`.

    If the block raises, `paths` are as they were, and nothing is left beside them.
    """
    parent = paths[0].parent
    parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{paths[0].name}.", suffix=".part", dir=parent))
    try:
        yield [stage / path.name for path in paths]
        for path in paths:
            if path.is_dir():
                path.rename(stage / "old")
            os.replace(stage / path.name, path)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write_tiff(film: Film, path: Path) -> None:
    import tifffile

    recipe = film.recipe
    tifffile.imwrite(
        path,
        film.frames,
        shape=film.shape,
        dtype=film.dtype,
        imagej=True,
        resolution=(1.0 / recipe.pixel_size_um, 1.0 / recipe.pixel_size_um),
        **_DEFLATE,
        metadata={
            "axes": "TYX",
            "unit": "um",
            "finterval": 1.0 / recipe.fps,
            "fps": recipe.fps,
            "Info": f"exposure_ms = {recipe.exposure_ms!r}\ntemperature_c = {recipe.temperature_c!r}\n",
        },
    )


def _write_ome(film: Film, path: Path) -> None:
    import tifffile

    tifffile.imwrite(
        path,
        film.frames,
        shape=film.shape,
        dtype=film.dtype,
        photometric="minisblack",
        bigtiff=film.n_bytes > _CLASSIC_BYTES,
        **_DEFLATE,
        description=_ome_xml(film).encode(),
        metadata=None,
    )


def _ome_xml(film: Film) -> str:
    import tifffile

    recipe, n = film.recipe, len(film.time_s)
    # the same film has the same UUID, so that it is the same file
    xml = tifffile.OmeXml(UUID=str(uuid5(NAMESPACE_OID, f"{recipe} {film.seed}")), Creator="nta simulate")
    xml.addimage(
        film.dtype,
        film.shape,
        (n, 1, 1, *film.shape[1:], 1),
        axes="TYX",
        Name=recipe.name,
        SignificantBits=recipe.bits,
        PhysicalSizeX=recipe.pixel_size_um,
        PhysicalSizeXUnit="µm",
        PhysicalSizeY=recipe.pixel_size_um,
        PhysicalSizeYUnit="µm",
        TimeIncrement=1.0 / recipe.fps,
        TimeIncrementUnit="s",
        Plane={
            "DeltaT": film.time_s.tolist(),
            "DeltaTUnit": ["s"] * n,
            "ExposureTime": [recipe.exposure_ms] * n,
            "ExposureTimeUnit": ["ms"] * n,
        },
    )
    environment = f'<ImagingEnvironment Temperature="{recipe.temperature_c!r}" TemperatureUnit="°C"/>'
    return xml.tostring(declaration=True).replace("<Pixels", environment + "<Pixels", 1)


def _write_avi(film: Film, path: Path) -> None:
    import av

    recipe = film.recipe
    pixels = "gray" if film.dtype is np.uint8 else "gray16le"
    # bitexact: no version and no clock time in the file
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("ffv1", rate=Fraction(recipe.fps).limit_denominator(100_000), options={"flags": "+bitexact"})
        stream.width, stream.height, stream.pix_fmt = recipe.width_px, recipe.height_px, pixels
        for image in film.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format=pixels)))
        container.mux(stream.encode(None))


def _write_png(film: Film, path: Path) -> None:
    from PIL import Image

    path.mkdir()
    digits = max(4, len(str(len(film.time_s) - 1)))
    for i, image in enumerate(film.frames):
        Image.fromarray(image).save(path / f"{i:0{digits}d}.png", compress_level=3)


WRITERS: dict[str, Callable[[Film, Path], None]] = {
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
    ".ome.tif": _write_ome,
    ".ome.tiff": _write_ome,
    ".avi": _write_avi,
    ".png": _write_png,
}
