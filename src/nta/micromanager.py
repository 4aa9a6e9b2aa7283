"""Micro-Manager's records, in a TIFF's tags or in a file beside the frames -> statements of its calibration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nta.metadata import FileSays, Listener, median, number

if TYPE_CHECKING:
    import tifffile

Record = Mapping[str, Any]

TAG = 51123  # of a TIFF page: the record of its frame
MOST_RECORDS = 300  # of frames; a step known to 1 ms is then known to 0.01 %
_MOST_BYTES = 2**27


def hear_micromanager(heard: Listener, summary: Record, frames: Sequence[Record]) -> None:
    """Hear what Micro-Manager recorded of an acquisition.

    The time stamps of the frames tell the frame rate. `Interval_ms`, which was asked for but need not have been kept, counts only where
    there are none; there, 0 is no statement: it asks for frames as fast as they come.

    Parameters
    ----------
    heard : takes the statements
    summary : of the acquisition (``PixelSize_um, Interval_ms, BitDepth``)
    frames : records of the frames, in order (``ElapsedTime-ms, Exposure-ms, PixelSizeUm, BitDepth``); the first channel's count
    """
    line = [f for f in frames if f.get("ChannelIndex") == frames[0].get("ChannelIndex")]
    line = line if len(line) > 1 else list(frames)  # one frame in each of many channels: the channels are time
    first = line[0] if line else {}
    sizes = [(key, record[key]) for record, key in ((first, "PixelSizeUm"), (summary, "PixelSize_um")) if key in record]
    if sizes:
        key, given = next((size for size in sizes if number(size[1]) > 0), sizes[0])
        heard.hear("pixel_size_um", number(given), f"Micro-Manager {key}", given)
    heard.hear_stamps([number(f["ElapsedTime-ms"]) / 1e3 for f in line if "ElapsedTime-ms" in f], "Micro-Manager ElapsedTime-ms")
    interval = summary.get("Interval_ms", 0)
    if "fps" not in heard.values and number(interval) != 0:
        heard.hear_interval(number(interval) / 1e3, "Micro-Manager Interval_ms", interval)
    exposures = [number(f["Exposure-ms"]) for f in line if "Exposure-ms" in f]
    if exposures:
        value = median(exposures)
        heard.hear("exposure_ms", value, "Micro-Manager Exposure-ms", f"{value:g}")
    bits = first.get("BitDepth", summary.get("BitDepth"))
    if bits is not None:
        heard.hear_bits(number(bits), "Micro-Manager BitDepth", bits)


def tiff_records(tif: tifffile.TiffFile) -> tuple[Record, list[Record]]:
    """Return the summary and the records of the first frames that a TIFF carries; what is damaged is left out."""
    try:
        summary = (tif.micromanager_metadata or {}).get("Summary")
    except Exception:  # a file that another program wrote anew keeps the tags alone
        summary = None
    frames: list[Record] = []
    for index in range(MOST_RECORDS):
        try:
            page: Any = tif.pages.get(index)
            record = page.tags.valueof(TAG)
        except Exception:  # no more pages, or a directory cut in its middle, which fails in any way it likes
            break
        if isinstance(record, dict):
            frames.append(record)
    return summary if isinstance(summary, dict) else {}, frames


def read_beside(files: Sequence[Path]) -> FileSays | None:
    """Return what the record beside a video states; None where there is none.

    Parameters
    ----------
    files : of one stack, whose record is ``<stem>_metadata.txt``; or of single frames, in order, whose record is ``metadata.txt`` in
        their folder. Its time stamps count where it knows each of them by name, since another choice of frames has another rate.
    """
    single = len(files) == 1
    name = files[0].name.removesuffix(files[0].suffix).removesuffix(".ome") + "_metadata.txt" if single else "metadata.txt"
    records = _load(files[0].with_name(name))
    summary = records.get("Summary")
    if not isinstance(summary, dict):
        return None
    frames = [(_file_of(key, record), record) for key, record in records.items() if isinstance(record, dict) and _is_frame(key)]
    if not single:
        of_file = dict(frames)
        frames = [(file.name, of_file[file.name]) for file in files if file.name in of_file]
        if len(frames) < len(files):
            frames = [(file, {k: v for k, v in record.items() if k != "ElapsedTime-ms"}) for file, record in frames]
    heard = Listener()
    hear_micromanager(heard, summary, [record for _, record in frames[:MOST_RECORDS]])
    return heard.says()


def _load(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file; what a record that was never closed holds; nothing where there is no such file."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return {}
        text = path.read_text(encoding="utf-8-sig", errors="replace").rstrip()
    except OSError:
        return {}
    for whole in (text, text.rstrip(",") + "}"):
        try:
            records = json.loads(whole)
        except ValueError:
            continue
        return records if isinstance(records, dict) else {}
    return {}


def _is_frame(key: str) -> bool:
    return key.startswith(("FrameKey-", "Metadata-"))


def _file_of(key: str, record: Record) -> str:
    """Return the name of a frame's file: version 1 writes it into the record, version 2 into its key."""
    name = record.get("FileName", key.removeprefix("Metadata-"))
    return str(name).replace("\\", "/").rpartition("/")[2]
