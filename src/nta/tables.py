"""Result -> CSV, JSON, TOML: the only writer of data files, and the only one that replaces a folder.

A folder is written under a hidden name beside its place, flushed to disk, then exchanged with what is there in one step, so that
a kill at any moment leaves the old one or the new one, whole. What a killed run left behind is cleaned up by the next.
"""

from __future__ import annotations

import contextlib
import csv
import ctypes
import errno
import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nta.errors import NtaError, UsageError
from nta.result import SCHEMA, Result, plain

try:
    import fcntl
except ImportError:  # Windows has no flock; age then tells what is abandoned
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import pandas as pd

OUR_FILES = (
    "histogram.csv",
    "particles.csv",
    "tracks.csv",
    "frames.csv",
    "summary.csv",
    "summary.json",
    "settings.toml",
    "figure.png",
    "figure.svg",
    "figure.pdf",
    "report.html",
)
"""Every file a result may hold. Anything else found in a result's folder is its owner's, and is carried over when it is replaced."""


@dataclass(frozen=True)
class Kind:
    """What makes a folder one of ours: `record`, the JSON file with `schema` and `input`; all `files`; the options that name another."""

    schema: str
    record: str
    files: tuple[str, ...]
    elsewhere: str


RESULT = Kind(SCHEMA, "summary.json", OUR_FILES, "-o or --name")

_PROTOCOL = "# The protocol: what was chosen; all else was auto or default. For another video: nta analyze --sop settings.toml VIDEO\n"
_SUMMARY_HEAD = ("video", "frames", "tracks", "tracks_sized")
_ABANDONED_S = 86400.0  # age of a leftover, where the file system has no locks to tell whether its writer lives
_RENAME_EXCHANGE = 2


# --- text ---


def to_json(value: Any, indent: int | None = None) -> str:
    """Return `value` as JSON without NaN or infinities (they become null), text as it is, floats to 9 digits."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def to_csv(frame: pd.DataFrame) -> str:
    """Return `frame` as CSV: decimal points, 9 digits, ``\\n``, empty for NaN and infinities."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows(zip(*(_column(frame[name].to_numpy()) for name in frame.columns), strict=True))
    return text.getvalue()


def _column(values: np.ndarray) -> list[str]:
    if values.dtype.kind == "f":
        return [f"{v:.9g}" if ok else "" for v, ok in zip((values + 0.0).tolist(), np.isfinite(values).tolist(), strict=True)]
    return [str(v) for v in values.tolist()]


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with ``\\n``; a byte of a file name that is no text is written as its escape."""
    path.write_bytes(text.encode("utf-8", errors="backslashreplace"))


# --- files of a result ---


def summary(result: Result) -> dict[str, Any]:
    """Return the content of summary.json."""
    return result.summary()


def write_tables(result: Result, folder: Path) -> None:
    """Write the data files of `result` into the existing `folder`; `staged_folder` gives one that replaces a result in one step."""
    for name, frame in (
        ("histogram", result.histogram_frame()),
        ("particles", result.particles_frame()),
        ("tracks", result.tracks_frame()),
        ("frames", result.frames_frame()),
        ("summary", result.summary_frame()),
    ):
        write_text(folder / f"{name}.csv", to_csv(frame))
    write_text(folder / "summary.json", to_json(result.summary(), indent=2) + "\n")
    write_text(folder / "settings.toml", _PROTOCOL + result.settings.to_toml())


def write_summary_table(
    path: str | Path, results: Iterable[Result | pd.DataFrame], failures: Mapping[str, str] | Iterable[tuple[str, str]] = ()
) -> None:
    """Write one summary.csv for several videos: a row each, then a row for each video that failed, with its message in `error`.

    Parameters
    ----------
    path : where to; an existing file is replaced only if it is such a table
    results : results, or their `summary_frame` (which weighs little where many videos are analysed)
    failures : name of the video and message

    Raises
    ------
    UsageError
        When `path` holds something else.
    """
    path = Path(path)
    check_summary_table(path)
    frames = [r.summary_frame() if isinstance(r, Result) else r for r in results]
    failed = failures.items() if isinstance(failures, Mapping) else failures
    rows = [row for f in frames for row in f.to_dict("records")] + [{"video": name, "error": message} for name, message in failed]
    columns = dict.fromkeys(_SUMMARY_HEAD) | {str(name): None for f in frames for name in f.columns}
    columns = {name: None for name in columns if name != "warnings"} | {"warnings": None, "error": None}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(path)
        fresh, lock = _make_stage(path, Path.touch)
        try:
            write_text(fresh, text.getvalue())
            _fsync(fresh)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
            _unlock(lock)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value + 0.0:.9g}" if np.isfinite(value) else ""
    return "" if value is None else str(value)


def check_summary_table(path: Path) -> None:
    """Raise `UsageError` when there is a file at `path` that is no summary table of ours."""
    if not path.exists():
        return
    with contextlib.suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8") as file:
        if file.readline().rstrip("\n").split(",")[: len(_SUMMARY_HEAD)] == list(_SUMMARY_HEAD):
            return
    raise UsageError(f"{path} was not written by nta and is left alone; give another -o")


# --- folders ---


def check_folder(folder: str | Path, sha256: str, *, overwrite: bool = False, kind: Kind = RESULT) -> None:
    """Refuse a folder that may not be replaced; repair first what a killed run left of it.

    Parameters
    ----------
    folder : where a result is to go
    sha256 : of the input; a result of the same input is replaced
    overwrite : replace the result of another input too
    kind : of folder

    Raises
    ------
    UsageError
        When `folder` holds the result of another input and not `overwrite`, or anything that nta did not write.
    NtaError
        When it cannot be looked into.
    """
    folder = Path(folder)
    with _disk_errors(folder):
        _clean_up(folder.resolve())
        _refuse(folder, sha256, overwrite, kind)


def _refuse(folder: Path, sha256: str, overwrite: bool, kind: Kind) -> None:
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give another {kind.elsewhere}")
    if next(folder.iterdir(), None) is None:
        return
    before = _read_input(folder, kind)
    if before is None:
        raise UsageError(f"{folder} was not written by nta and is left alone; give another {kind.elsewhere}")
    if before.get("sha256") != sha256 and not overwrite:
        raise UsageError(f"{folder} holds the result of {before.get('path')}; give another {kind.elsewhere} (or --overwrite)")


def _read_input(folder: Path, kind: Kind) -> dict[str, Any] | None:
    """Return `input` of the result in `folder`, ``None`` when it holds none of ours."""
    try:
        known = json.loads((folder / kind.record).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(known, dict) and str(known.get("schema", "")).split("/")[0] == kind.schema.split("/")[0]
    return known["input"] if ours and isinstance(known.get("input"), dict) else None


@contextlib.contextmanager
def staged_folder(folder: str | Path, sha256: str, *, overwrite: bool = False, kind: Kind = RESULT) -> Iterator[Path]:
    """Give an empty folder to write a result into; when the block ends it takes the place of `folder` in one step.

    If the block raises, `folder` is as it was. Files in the old folder that are not of a result are carried over.

    Raises
    ------
    UsageError
        As `check_folder`.
    NtaError
        When the place cannot be written to.
    """
    check_folder(folder, sha256, overwrite=overwrite, kind=kind)
    place = Path(folder).resolve()
    with _disk_errors(folder):
        place.parent.mkdir(parents=True, exist_ok=True)
        stage, lock = _make_stage(place, Path.mkdir)
        try:
            yield stage
            _refuse(Path(folder), sha256, overwrite, kind)  # the analysis took time; somebody may have come first
            _carry_over(place, stage, kind)
            for path in [*stage.rglob("*"), stage]:
                _fsync(path)
            _swap(stage, place)
            _fsync(place.parent)
        finally:
            shutil.rmtree(stage, ignore_errors=True)  # the new one if it failed, the old one if they were exchanged
            _unlock(lock)


def _carry_over(old: Path, new: Path, kind: Kind) -> None:
    for path in old.iterdir() if old.is_dir() else ():
        if path.name in kind.files:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)


def _swap(stage: Path, place: Path) -> None:
    """Put `stage` in its place; what was there is `stage` afterwards, or gone."""
    if not os.path.lexists(place):
        os.rename(stage, place)
    elif not _exchange(stage, place):
        old = _hidden(place, "old")
        os.rename(place, old)
        try:
            os.rename(stage, place)
        except OSError:
            os.rename(old, place)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here = ctypes.c_int(-100)  # AT_FDCWD; the paths are absolute
    if renameat2(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _hidden(place: Path, kind: str) -> Path:
    return place.with_name(f".{place.name}.nta-{kind}")


def _clean_up(place: Path) -> None:
    """Finish what killed runs left of `place`: an old folder set aside goes back or away, unfinished new ones go."""
    if not place.parent.is_dir():
        return
    unfinished = [p for p in place.parent.iterdir() if p.name.startswith(_hidden(place, "new-").name)]
    if not all(_abandoned(p) for p in unfinished):
        return  # another run is at work on this very place
    old = _hidden(place, "old")
    if old.exists():
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.rename(old, place)
    for path in unfinished:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _make_stage(place: Path, make: Callable[[Path], None]) -> tuple[Path, int | None]:
    """Make the hidden sibling to write into; the lock on it, which dies with the process, tells others that it is in use."""
    while True:
        stage = _hidden(place, f"new-{secrets.token_hex(4)}")
        make(stage)
        lock = _lock(stage)
        if stage.exists():
            return stage, lock
        _unlock(lock)  # another run took it for a leftover before it was locked


def _lock(path: Path) -> int | None:
    if fcntl is None:
        return None
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        return handle
    return None


def _unlock(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _abandoned(path: Path) -> bool:
    """Tell whether no process that lives holds `path`."""
    if fcntl is not None:
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:
            pass
        finally:
            os.close(handle)
    return not path.exists() or time.time() - path.stat().st_mtime > _ABANDONED_S


def _fsync(path: Path) -> None:
    if os.name == "nt" or path.is_symlink():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_errors(place: str | Path) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into one line."""
    try:
        yield
    except OSError as error:
        raise NtaError(f"{place}: cannot be written ({error.strerror or error}); give another -o") from error
