"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# matrices are small, and tests run side by side: as in an analysis, threads of the linear algebra would only get in each other's way
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("nta", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("nta")


def pytest_configure(config: pytest.Config) -> None:
    """Let trackpy's own use of pandas pass; all other warnings are errors."""
    config.addinivalue_line("filterwarnings", "ignore:The inplace keyword in DataFrame.sort_values:DeprecationWarning")


PIXEL_SIZE_UM, FPS, EXPOSURE_MS, TEMPERATURE_C = 0.25, 30.0, 10.0, 22.0


def tiny_frames(n_frames: int = 40, *, n_spots: int = 8, size_px: int = 64, step_px: float = 1.2, seed: int = 0) -> np.ndarray:
    """Return (n_frames, size_px, size_px) uint8: Gaussian spots on a random walk between reflecting walls, with camera noise."""
    rng = np.random.default_rng(seed)
    walk = rng.uniform(6, size_px - 6, (n_spots, 2)) + np.cumsum(rng.normal(scale=step_px, size=(n_frames, n_spots, 2)), axis=0)
    period = 2.0 * (size_px - 1)
    walk = np.abs(np.mod(walk + period / 2, period) - period / 2)
    grid = np.arange(size_px)
    shape = np.exp(-((grid - walk[..., None]) ** 2) / (2 * 1.5**2))  # (n_frames, n_spots, axis, size_px)
    light = 90.0 * np.einsum("fsy,fsx->fyx", shape[:, :, 1], shape[:, :, 0])
    return np.clip(np.rint(20.0 + light + rng.normal(scale=2.0, size=light.shape)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Return a function that writes `frames` as an ImageJ TIFF, with pixel size and frame interval inside unless not `calibrated`."""

    def write(path: Path, frames: np.ndarray, *, calibrated: bool = True) -> Path:
        import tifffile

        metadata: dict[str, object] = {"axes": "TYX"}
        if calibrated:
            info = f"exposure_ms = {EXPOSURE_MS!r}\ntemperature_c = {TEMPERATURE_C!r}\n"
            metadata |= {"unit": "um", "finterval": 1 / FPS, "fps": FPS, "Info": info}
        resolution = (1 / PIXEL_SIZE_UM, 1 / PIXEL_SIZE_UM) if calibrated else None
        tifffile.imwrite(path, frames, imagej=True, metadata=metadata, resolution=resolution)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Return the path of a small TIFF that carries its pixel size and frame rate; do not change it."""
    return write_video(tmp_path_factory.mktemp("videos") / "tiny.tif", tiny_frames())


@pytest.fixture(scope="session")
def bare_video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Return the path of a small TIFF that carries neither pixel size nor frame rate; do not change it."""
    return write_video(tmp_path_factory.mktemp("videos") / "bare.tif", tiny_frames(seed=1), calibrated=False)


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
