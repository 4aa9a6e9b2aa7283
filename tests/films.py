"""Video files written for tests: through PyAV, and by hand where FFmpeg's writers cannot."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

# FFmpeg's encoders print to stderr as long as nobody listens to them
BLUR = np.array([1, 4, 6, 4, 1]) / 16


def noise(n: int = 24, height: int = 48, width: int = 64, dtype: Any = np.uint8, high: int = 256) -> np.ndarray:
    """Return (n, height, width) random pixels below `high`."""
    return np.random.default_rng(0).integers(0, high, (n, height, width)).astype(dtype)


def smooth(n: int = 24, height: int = 48, width: int = 64) -> np.ndarray:
    """Return (n, height, width) uint8 between 16 and 235 that compress well and differ from frame to frame, each brighter than the last."""
    rng = np.random.default_rng(1)
    field = rng.normal(size=(height + 4, width + 4))
    for axis in (0, 1):
        field = np.apply_along_axis(np.convolve, axis, field, BLUR, "valid")
    field *= 12 / field.std()
    grown = 60 + 120 * np.arange(n)[:, None, None] / n + field
    return np.clip(np.rint(grown), 16, 235).astype(np.uint8)


def frame_of(pixels: np.ndarray, kind: str, chroma: tuple[int, int] = (128, 128)) -> av.VideoFrame:
    """Return a frame of FFmpeg's pixel format `kind`: `pixels` are its luma or grey, or its colours (height, width, 3)."""
    height, width = pixels.shape[:2]
    if pixels.ndim == 3:
        return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=kind)
    if kind in ("rgb24", "bgr24", "bgr0", "gbrp", "rgba"):
        return frame_of(np.stack([pixels] * 3, axis=-1), kind)
    if kind.startswith("gbrp"):
        planes = [pixels] * 3
    else:
        levels = 2 ** (av.VideoFormat(kind).components[0].bits - 8)
        planes = [pixels, *(np.full(1, c * levels, pixels.dtype) for c in chroma)]
    frame = av.VideoFrame(width, height, kind)
    for plane, content in zip(frame.planes, planes, strict=False):
        rows = np.zeros((plane.height, plane.line_size // content.itemsize), content.dtype)
        rows[:, : plane.width] = content
        plane.update(rows.astype(rows.dtype.newbyteorder(">")).tobytes() if kind.endswith("be") else rows.tobytes())
    return frame


def film(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str,
    kind: str,
    *,
    rate: Any = 25,
    stamps: Sequence[int] | None = None,
    tick: Fraction | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    chroma: tuple[int, int] = (128, 128),
    **context: Any,
) -> Path:
    """Write `frames` with FFmpeg's encoder `codec`; `stamps` are in units of `tick`, one frame at `rate` each unless given."""
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = kind
        if tick is not None:
            stream.time_base = stream.codec_context.time_base = tick
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for i, pixels in enumerate(frames):
            frame = frame_of(pixels, kind, chroma)
            frame.pts = i if stamps is None else stamps[i]
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def avi(
    path: Path,
    packets: Sequence[bytes],
    width: int,
    height: int,
    bits: int,
    *,
    code: bytes = b"\0\0\0\0",
    palette: bytes = b"",
    rate: int = 25,
    scale: int = 1,
    declared: int | None = None,
    frame_us: int = 0,
) -> Path:
    """Write an AVI by hand; a `height` below 0 says that rows go from top to bottom, `declared` the number of frames in its headers."""
    n = len(packets) if declared is None else declared
    whole = struct.pack("<14I", frame_us, 0, 0, 0x10, n, 0, 1, 0, width, abs(height), 0, 0, 0, 0)
    stream = b"vids" + (code if any(code) else b"DIB ")
    stream += struct.pack("<IHHIIIIIIII4H", 0, 0, 0, 0, scale, rate, 0, n, 0, 0xFFFFFFFF, 0, 0, 0, width, abs(height))
    image = struct.pack("<IiiHH4sIIIII", 40, width, height, 1, bits, code, 0, 0, 0, len(palette) // 4, 0) + palette
    headers = _chunk(b"LIST", b"strl" + _chunk(b"strh", stream) + _chunk(b"strf", image))
    movie, index = b"movi", b""
    for packet in packets:
        index += struct.pack("<4sIII", b"00db", 0x10, len(movie), len(packet))
        movie += _chunk(b"00db", packet)
    body = b"AVI " + _chunk(b"LIST", b"hdrl" + _chunk(b"avih", whole) + headers) + _chunk(b"LIST", movie) + _chunk(b"idx1", index)
    path.write_bytes(_chunk(b"RIFF", body))
    return path


def rows_of(pixels: np.ndarray) -> bytes:
    """Return the rows of a device-independent bitmap: the lowest first, each padded to 4 bytes."""
    rows = pixels.reshape(len(pixels), -1)
    return b"".join(row.tobytes() + b"\0" * (-row.size % 4) for row in rows[::-1])


def lagarith(luma: np.ndarray) -> bytes:
    """Return a grey YV12 packet of Lagarith whose entropy coding is left out: bytes are what its prediction leaves.

    The first row is predicted from the left; the others by the median of left, top and left + top - top left, where the pixel left of a
    row is the last one of the row above.
    """
    old = luma.astype(int)
    left = np.concatenate([[0], old.ravel()[:-1]]).reshape(old.shape)
    top = np.vstack([np.zeros_like(old[:1]), old[:-1]])
    corner = np.concatenate([np.zeros(old.shape[1] + 1, int), old.ravel()[: -old.shape[1] - 1]]).reshape(old.shape)
    corner[1, 0] = old[0, 0]
    predicted = np.median([left, top, left + top - corner], axis=0)
    predicted[0] = left[0]
    plane = b"\x04" + ((old - predicted) % 256).astype(np.uint8).tobytes()
    chroma = b"\xff\x80"  # a plane of 128 all over
    return b"\x0a" + struct.pack("<II", 9 + len(plane), 9 + len(plane) + len(chroma)) + plane + chroma + chroma
