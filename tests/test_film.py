from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nta.errors import UsageError
from nta.film import Film, check_film, replaced_when_whole, split_output, write_film
from nta.recipe import make_recipe
from nta.settings import Settings
from nta.video import open_video

FORMATS = [".tif", ".ome.tif", ".avi", ".png"]


def film_of(n: int = 7, **changes: Any) -> tuple[Film, np.ndarray]:
    table = {"width_px": 50, "height_px": 34, "fps": 37.5, "exposure_ms": 12.5, "pixel_size_um": 0.21, "temperature_c": 31.5, **changes}
    recipe = make_recipe(populations=[{"diameter_nm": 100.0}], n_frames=n, name="a < b & µ", **table)
    kind = np.uint8 if recipe.bits == 8 else np.uint16
    frames = np.random.default_rng(0).integers(0, 2**recipe.bits, (n, 34, 50)).astype(kind)
    return Film(recipe, 4, np.arange(n) / recipe.fps, iter(frames)), frames


def read_back(path: Path, suffix: str) -> np.ndarray:
    """Return the frames of a file, by the library that made it or another."""
    if suffix == ".avi":
        import av

        with av.open(str(path)) as container:
            wanted = {"gray": "gray", "gray16le": "gray16le"}
            return np.array([f.to_ndarray(format=wanted[f.format.name]) for f in container.decode(video=0)])
    if suffix == ".png":
        from PIL import Image

        return np.array([np.asarray(Image.open(p)) for p in sorted(path.iterdir())])
    import tifffile

    return tifffile.imread(path)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_back_what_was_written(tmp_path: Path, suffix: str, bits: int) -> None:
    film, frames = film_of(bits=bits)
    path = tmp_path / "v"
    write_film(film, path, suffix)
    back = read_back(path, suffix)
    assert back.dtype == frames.dtype
    assert np.array_equal(back, frames)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_same_film_is_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        write_film(film_of()[0], tmp_path / name, suffix)
    a, b = tmp_path / "a", tmp_path / "b"
    files = [Path()] if a.is_file() else [p.relative_to(a) for p in sorted(a.iterdir())]
    assert len(files) in (1, 7)
    for f in files:
        assert (a / f).read_bytes() == (b / f).read_bytes()


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
def test_tiffs_carry_their_calibration(tmp_path: Path, suffix: str) -> None:
    film, frames = film_of(bits=12)
    write_film(film, tmp_path / f"v{suffix}", suffix)
    with open_video(tmp_path / f"v{suffix}", Settings()) as video:
        calibration = video.calibration
        assert (video.n_frames, video.height, video.width, video.dtype) == (7, 34, 50, "uint16")
        assert np.array_equal([video.read(i) for i in range(7)], frames)
        if suffix == ".ome.tif":
            assert video.ceiling == 4095
    assert calibration.exposure_s is not None
    for used, expected in (
        (calibration.pixel_size_um, 0.21),
        (calibration.fps, 37.5),
        (calibration.exposure_s, 0.0125),
        (calibration.temperature_c, 31.5),
    ):
        assert used.value == pytest.approx(expected, rel=1e-5)
        assert used.source == "file"


def test_ome_xml_is_valid_and_tells_when_each_plane_was_taken(tmp_path: Path) -> None:
    import tifffile

    film, _ = film_of()
    write_film(replace(film, time_s=np.array([0, 1, 2, 4, 5, 6, 7]) / 37.5), tmp_path / "v.ome.tif", ".ome.tif")
    with tifffile.TiffFile(tmp_path / "v.ome.tif") as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "TYX"
        xml = str(tiff.ome_metadata)
    root = tifffile.xml2dict(xml)["OME"]["Image"]
    assert root["Name"] == "a < b & µ"
    assert root["ImagingEnvironment"] == {"Temperature": 31.5, "TemperatureUnit": "°C"}
    pixels = root["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"], pixels["SignificantBits"]) == (0.21, "µm", 8)
    assert [p["DeltaT"] for p in pixels["Plane"]] == pytest.approx([i / 37.5 for i in (0, 1, 2, 4, 5, 6, 7)])
    assert {p["ExposureTime"] for p in pixels["Plane"]} == {12.5}
    assert list(root).index("ImagingEnvironment") < list(root).index("Pixels")  # the schema's order


def test_an_avi_plays_at_its_frame_rate(tmp_path: Path) -> None:
    import av

    write_film(film_of(fps=29.97)[0], tmp_path / "v.avi", ".avi")
    with av.open(str(tmp_path / "v.avi")) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == pytest.approx(29.97)
        assert stream.codec_context.name == "ffv1"
        assert stream.frames == 7


def test_png_frames_are_numbered_in_order(tmp_path: Path) -> None:
    write_film(film_of()[0], tmp_path / "v", ".png")
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == [f"{i:04d}.png" for i in range(7)]


@pytest.mark.parametrize(
    ("given", "base", "suffix"),
    [
        ("x", "x", ".tif"),
        ("x.tif", "x", ".tif"),
        ("d/x.TIFF", "d/x", ".TIFF"),
        ("x.ome.tif", "x", ".ome.tif"),
        ("x.avi", "x", ".avi"),
        ("x.y.png", "x.y", ".png"),
        ("x_0.5", "x_0.5", ".tif"),
        (".tif", ".tif", ".tif"),
    ],
)
def test_the_suffix_decides_the_format(given: str, base: str, suffix: str) -> None:
    assert split_output(Path(given)) == (Path(base), suffix)


@pytest.mark.parametrize("name", ["x.mp4", "x.JPG", "x.mov"])
def test_formats_that_cannot_be_written_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^--output: {name} cannot be written; give .tif, .tiff, .ome.tif, .ome.tiff, .avi, .png or no"):
        split_output(Path(name))


def test_a_film_too_long_for_imagej_is_refused() -> None:
    film, _ = film_of(width_px=2000, height_px=2000, n=2)
    long = replace(film, time_s=np.arange(1100) / 25)
    with pytest.raises(UsageError, match=r"v.tif would be 4.4 GB, more than ImageJ's TIFF holds; give .ome.tif or .avi"):
        check_film(long, Path("v.tif"), ".tif")
    check_film(long, Path("v.ome.tif"), ".ome.tif")
    check_film(film, Path("v.tif"), ".tif")


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    film, _ = film_of()
    check_film(film, tmp_path / "new", ".png")
    check_film(film, tmp_path, ".png")  # empty
    (tmp_path / "0001.png").write_text("")
    check_film(film, tmp_path, ".png")
    (tmp_path / "mine.png").write_text("")
    with pytest.raises(UsageError, match=r"holds mine.png, which is no frame"):
        check_film(film, tmp_path, ".png")


def test_what_is_whole_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "0000.png").write_text("old")
    with replaced_when_whole(tmp_path / "a", tmp_path / "b") as (a, b):
        a.write_text("new")
        b.mkdir()
        (b / "0001.png").write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["0001.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_film_that_breaks_off_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    film, frames = film_of()

    def broken() -> Iterator[np.ndarray]:
        yield frames[0]
        raise KeyboardInterrupt

    (tmp_path / "v").write_text("old")
    with pytest.raises(KeyboardInterrupt), replaced_when_whole(tmp_path / "v") as (place,):
        write_film(replace(film, frames=broken()), place, suffix)
    assert [p.name for p in tmp_path.iterdir()] == ["v"]
    assert (tmp_path / "v").read_text() == "old"
