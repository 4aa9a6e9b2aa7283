from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nta.camera import Camera, normal_strips, poisson_tables
from nta.recipe import make_recipe


def camera_of(**changes: Any) -> Camera:
    return Camera(make_recipe(populations=[{"diameter_nm": 100.0}], **{"width_px": 200, "height_px": 200, "bits": 16, **changes}))


def filmed(camera: Camera, light: np.ndarray, n: int, offset: float = 0.0) -> np.ndarray:
    keys = np.random.default_rng(5).integers(0, 2**64, (n, 2), dtype=np.uint64)
    return np.array([camera.expose(light, np.full(light.shape, offset), k) for k in keys])


@pytest.mark.parametrize("electrons_per_grey", [0.25, 0.5, 6.0])
@pytest.mark.parametrize("read_noise", [0.4, 1.5, 8.0])
def test_variance_is_mean_over_gain_and_read_noise_and_rounding_at_every_level(electrons_per_grey: float, read_noise: float) -> None:
    camera = camera_of(electrons_per_grey=electrons_per_grey, read_noise_grey=read_noise)
    levels = 30.0 * 1.5 ** np.arange(8)  # 30 to 512
    light = np.repeat(levels, 200 * 25).reshape(200, 200)
    frames = filmed(camera, light, 6).reshape(6, 8, -1).astype(float)
    n = frames[:, 0].size
    variance = levels / electrons_per_grey + read_noise**2 + 1 / 12
    assert frames.mean(axis=(0, 2)) == pytest.approx(levels, abs=4 * math.sqrt(variance[-1] / n))
    # a Poisson number has a wider scatter of its variance than a normal one
    spread = np.sqrt(2 / n + 1 / (levels * electrons_per_grey * n))
    z = (frames.var(axis=(0, 2)) / variance - 1) / spread
    assert np.all(np.abs(z) < 4), z
    assert spread.max() < 0.015


@pytest.mark.parametrize(
    ("bits", "saturation", "dtype", "highest"),
    [
        (8, None, np.uint8, 255),
        (10, None, np.uint16, 1023),
        (12, 3000, np.uint16, 3000),
        (16, None, np.uint16, 65535),
        (8, 200.7, np.uint8, 200),
    ],
)
def test_bright_light_saturates_at_the_cameras_ceiling(bits: int, saturation: float | None, dtype: type, highest: int) -> None:
    camera = camera_of(bits=bits, saturation_grey=saturation)
    frame = filmed(camera, np.full((200, 200), 1e5), 1)[0]
    assert frame.dtype == dtype
    assert set(np.unique(frame)) == {highest}
    # half of what is as bright as the ceiling is cut
    half = filmed(camera, np.full((200, 200), float(highest)), 1)[0]
    assert np.mean(half == highest) == pytest.approx(0.5, abs=0.03)
    assert half.min() > highest - 8 * math.sqrt(highest / 0.5 + 3)


def test_hot_pixels_add_without_shot_noise() -> None:
    frames = filmed(camera_of(read_noise_grey=2.0), np.zeros((200, 200)), 3, offset=1000.0)
    assert frames.mean() == pytest.approx(1000, abs=4 * 2 / math.sqrt(frames.size))
    assert frames.var() == pytest.approx(4 + 1 / 12, rel=4 * math.sqrt(2 / frames.size))


def test_keys_decide_the_noise() -> None:
    camera, light = camera_of(), np.full((200, 200), 50.0)
    one, two = np.uint64(1), np.uint64(2)
    first = camera.expose(light, 0 * light, np.array([one, two]))
    assert np.array_equal(camera.expose(light, 0 * light, np.array([one, two])), first)
    assert np.mean(camera.expose(light, 0 * light, np.array([two, two])) == first) < 0.5
    assert np.mean(camera.expose(light, 0 * light, np.array([one, one])) == first) < 0.9


def test_tables_are_whole_distributions() -> None:
    fine, fine_guide, coarse, coarse_guide, first = poisson_tables()
    assert fine[16, :3] == pytest.approx([math.exp(-1), 2 * math.exp(-1), 2.5 * math.exp(-1)])
    assert np.all(np.diff(fine) >= 0)
    assert np.all(fine[:, -2] > 1 - 1e-15)
    assert np.all(np.diff(coarse) >= 0)
    assert np.all(coarse[:, -2] > 1 - 1e-15)
    assert np.all(coarse[1:, 0] < 1e-6)
    assert np.all(coarse[first > 0, 0] < 1e-16)
    for table, guide in ((fine, fine_guide), (coarse, coarse_guide)):
        row, at = table[3], guide[3]
        assert all(k == 0 or row[k - 1] <= j / 256 for j, k in enumerate(at))


def test_the_strips_of_the_ziggurat_have_one_area() -> None:
    x = normal_strips()
    assert len(x) == 129
    area = x[1:-1] * np.diff(np.exp(-0.5 * x[1:] ** 2))
    assert area == pytest.approx(9.91256303526217e-3, rel=1e-6)
    tail = math.sqrt(math.pi / 2) * math.erfc(x[1] / math.sqrt(2))
    assert x[1] * math.exp(-0.5 * x[1] ** 2) + tail == pytest.approx(x[0] * math.exp(-0.5 * x[1] ** 2), rel=1e-6)
