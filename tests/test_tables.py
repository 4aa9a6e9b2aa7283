"""Files of a result: their text, what may be replaced, and what a kill leaves."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_result import CLASSES, FPS, PIXEL_UM, empty_result, fake_result

from nta import tables
from nta.errors import Notice, NtaError, UsageError
from nta.result import Result
from nta.settings import Settings

DATA_FILES = ["frames.csv", "histogram.csv", "particles.csv", "settings.toml", "summary.csv", "summary.json", "tracks.csv"]
ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture(scope="module")
def result() -> Result:
    return fake_result("ev", 40, sha256=ONE)


@pytest.fixture(scope="module")
def written(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    tables.write_tables(result, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- text ---


def test_json_knows_no_nan_and_keeps_letters() -> None:
    text = tables.to_json({"a": np.nan, "b": [np.inf, np.float32(0.5)], "ä": 'µm \x00 "q"'})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [None, 0.5], "ä": 'µm \x00 "q"'}
    assert "ä" in text
    assert "\n" not in text
    assert "\n" in tables.to_json({"a": 1}, indent=2)


def test_csv_by_hand() -> None:
    frame = pd.DataFrame(
        {"n": np.array([1, -2]), "x": [1 / 3, -0.0], "y": [np.nan, -np.inf], "z": [1.5e-12, 1e300], "s": ['a,"b"', ""], "ok": [True, False]}
    )
    assert tables.to_csv(frame) == 'n,x,y,z,s,ok\n1,0.333333333,,1.5e-12,"a,""b""",True\n-2,0,,1e+300,,False\n'
    assert tables.to_csv(frame.iloc[:0]) == "n,x,y,z,s,ok\n"


# --- files ---


def test_data_files(result: Result, written: Path) -> None:
    assert sorted(contents(written)) == DATA_FILES
    for name, content in contents(written).items():
        assert b"\r" not in content
        assert content.endswith(b"\n")
        assert "nan" not in content.decode().lower().split(","), name
    summary = json.loads((written / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary == json.loads(tables.to_json(tables.summary(result)))
    assert summary["schema"] == "nta-result/1"


def test_csv_files_read_back_as_the_frames(result: Result, written: Path) -> None:
    frames = {
        "histogram": result.histogram_frame(),
        "particles": result.particles_frame(),
        "tracks": result.tracks_frame(),
        "frames": result.frames_frame(),
        "summary": result.summary_frame(),
    }
    for name, frame in frames.items():
        read = pd.read_csv(written / f"{name}.csv", keep_default_na=True)
        assert list(read.columns) == list(frame.columns)
        expected = frame.replace([np.inf, -np.inf], np.nan).replace({"": None})
        for column in frame.columns:
            if frame[column].dtype.kind == "f":
                assert np.allclose(read[column], expected[column].astype(float), rtol=1e-8, atol=0, equal_nan=True), column
            else:
                assert read[column].fillna("").astype(str).tolist() == frame[column].astype(str).tolist(), column


def test_bins_of_a_class_sum_to_the_class_in_the_files(written: Path) -> None:
    frame, row = pd.read_csv(written / "histogram.csv"), pd.read_csv(written / "summary.csv").iloc[0]
    assert frame["fraction"].sum() == pytest.approx(1.0, abs=1e-6)
    for c in CLASSES:
        inside = (frame["diameter_low_nm"] >= c.low_nm) & (frame["diameter_high_nm"] <= c.high_nm)
        assert frame.loc[inside, "fraction"].sum() == pytest.approx(row[f"fraction_{c.name}"], abs=1e-6)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # trackpy's own use of pandas
def test_trackpy_reads_tracks_as_they_are(result: Result, written: Path) -> None:
    import trackpy

    frame = pd.read_csv(written / "tracks.csv")
    msd = trackpy.imsd(frame, PIXEL_UM, FPS, max_lagtime=5)
    assert msd.shape == (5, frame["particle"].nunique()) == (5, 40)
    x, y = (frame.loc[frame["particle"] == 7, axis].to_numpy() for axis in "xy")
    by_hand = PIXEL_UM**2 * np.mean(np.diff(x) ** 2 + np.diff(y) ** 2)
    assert msd[7].iloc[0] == pytest.approx(by_hand, rel=1e-6)
    assert msd.index[0] == pytest.approx(1 / FPS)


def test_settings_hold_only_what_was_chosen_and_can_be_used_again(tmp_path: Path) -> None:
    chosen = Settings().with_options(min_frames=8, temperature_c=22)
    tables.write_tables(fake_result("ev", settings=chosen), tmp_path)
    text = (tmp_path / "settings.toml").read_text()
    assert [line for line in text.splitlines() if "=" in line] == ["min_frames = 8", "temperature_c = 22.0"]
    again = Settings.from_toml(tmp_path / "settings.toml")
    assert (again.tracks.min_frames, again.medium.temperature_c) == (8, 22.0)
    assert set(again.chosen) == {"min_frames", "temperature_c"}


def test_same_bytes_on_every_run(written: Path, tmp_path: Path) -> None:
    tables.write_tables(fake_result("ev", 40, sha256=ONE), tmp_path)
    assert contents(tmp_path) == contents(written)


def test_empty_result_is_written_whole(tmp_path: Path) -> None:
    tables.write_tables(empty_result(), tmp_path)
    assert sorted(contents(tmp_path)) == DATA_FILES
    assert (tmp_path / "particles.csv").read_text().count("\n") == 1
    assert (tmp_path / "tracks.csv").read_text().count("\n") == 1
    row = next(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert (row["tracks"], row["d50_nm"], row["warnings"]) == ("0", "", "no_particles")


@pytest.mark.parametrize("name", ["two words", 'a,"b"', "line\nbreak", "µ 样品", os.fsdecode(b"bad\xff")])
def test_any_name_can_be_written(name: str, tmp_path: Path) -> None:
    tables.write_tables(replace(empty_result(name=name, path=f"in/{name}.tif"), notices=(Notice("c", name),)), tmp_path)
    shown = name.encode("utf-8", "backslashreplace").decode()
    assert json.loads((tmp_path / "summary.json").read_bytes().decode("utf-8"))["input"]["path"] == f"in/{name}.tif"
    with open(tmp_path / "summary.csv", encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["video"] == shown


# --- one table for several videos ---


def test_summary_table_of_several_videos(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "new" / "summary.csv"
    tables.write_summary_table(path, [result, empty_result().summary_frame()], [("bad one", "bad one.tif: truncated, 3 whole frames")])
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*result.summary_frame().columns, "error"]
    assert [r["video"] for r in rows] == ["video", "black", "bad one"]
    assert [r["error"] for r in rows] == ["", "", "bad one.tif: truncated, 3 whole frames"]
    assert [r["tracks_sized"] for r in rows] == ["36", "0", ""]
    alone = tmp_path / "alone"
    alone.mkdir()
    tables.write_tables(result, alone)
    assert path.read_text().splitlines()[1] == (alone / "summary.csv").read_text().splitlines()[1] + ",", "the same digits"
    assert os.listdir(path.parent) == ["summary.csv"]


def test_summary_table_where_all_failed(tmp_path: Path) -> None:
    tables.write_summary_table(tmp_path / "summary.csv", [], {"a": "no"})
    assert (tmp_path / "summary.csv").read_text() == "video,frames,tracks,tracks_sized,warnings,error\na,,,,,no\n"


def test_summary_table_replaces_its_like_only(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    tables.write_summary_table(path, [result])
    tables.write_summary_table(path, [result, result])
    assert path.read_text().count("\n") == 3
    path.write_text("mine\n")
    with pytest.raises(UsageError, match="was not written by nta and is left alone"):
        tables.write_summary_table(path, [result])
    assert path.read_text() == "mine\n"


# --- what may be replaced ---


def put(folder: Path, sha256: str, text: str = "new", *, overwrite: bool = False, path: str = "day1/s1.tif") -> None:
    """Write a folder that looks like a result, by the same way as a real one."""
    with tables.staged_folder(folder, sha256, overwrite=overwrite) as stage:
        for name in ("histogram.csv", "tracks.csv"):
            tables.write_text(stage / name, text)
        summary = {"schema": "nta-result/1", "input": {"path": path, "sha256": sha256}}
        tables.write_text(stage / "summary.json", tables.to_json(summary))


def state(folder: Path) -> str | None:
    """Return the text of a whole result, ``None`` where there is no folder; fail on anything between."""
    if not folder.exists():
        return None
    assert sorted(os.listdir(folder)) == ["histogram.csv", "summary.json", "tracks.csv"]
    text = (folder / "histogram.csv").read_text()
    assert (folder / "tracks.csv").read_text() == text
    assert json.loads((folder / "summary.json").read_text())["schema"] == "nta-result/1"
    return text


def test_result_of_the_same_input_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "a b"
    put(folder, ONE, "old")
    (folder / "figure.png").write_bytes(b"of the old run")
    put(folder, ONE, "new")
    assert state(folder) == "new"
    assert os.listdir(folder.parent) == ["a b"]


def test_result_of_another_input_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "s1"
    put(folder, ONE, "old")
    with pytest.raises(UsageError, match=r"s1 holds the result of day1/s1\.tif; give another -o or --name \(or --overwrite\)"):
        put(folder, OTHER)
    assert state(folder) == "old"
    put(folder, OTHER, "new", overwrite=True)
    assert state(folder) == "new"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("notes.txt", "mine"),
        ("summary.json", '{"schema": "else/1", "input": {"sha256": "' + ONE + '"}}'),
        ("summary.json", "[1]"),
        ("summary.json", "{"),
        ("summary.json", '{"schema": "nta-result/1"}'),
    ],
)
def test_folder_of_somebody_else_is_never_touched(tmp_path: Path, overwrite: bool, file: str, text: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / file).write_text(text)
    with pytest.raises(UsageError, match="was not written by nta and is left alone; give another -o or --name"):
        put(folder, ONE, overwrite=overwrite)
    assert contents(folder) == {file: text.encode()}
    assert os.listdir(tmp_path) == ["mine"]


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("mine")
    with pytest.raises(UsageError, match="is not a folder"):
        put(tmp_path / "f", ONE, overwrite=True)
    with pytest.raises(NtaError, match="cannot be written"):
        put(tmp_path / "f" / "below", ONE)
    assert (tmp_path / "f").read_text() == "mine"


def test_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    put(tmp_path / "e", ONE)
    assert state(tmp_path / "e") == "new"


def test_folder_behind_a_link_is_replaced_where_it_lies(tmp_path: Path) -> None:
    put(tmp_path / "real", ONE, "old")
    (tmp_path / "link").symlink_to("real")
    put(tmp_path / "link", ONE, "new")
    assert (tmp_path / "link").is_symlink()
    assert state(tmp_path / "real") == "new"


def test_files_of_the_owner_are_carried_over(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    put(folder, ONE, "old")
    (folder / "notes.txt").write_text("mine")
    (folder / "more" / "deep").mkdir(parents=True)
    (folder / "more" / "deep" / "x").write_text("also mine")
    put(folder, ONE, "new")
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "more" / "deep" / "x").read_text() == "also mine"
    assert (folder / "tracks.csv").read_text() == "new"


def test_new_folder_has_the_usual_rights(tmp_path: Path) -> None:
    put(tmp_path / "r", ONE)
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "r").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_somebody_came_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds the result of theirs"), tables.staged_folder(tmp_path / "r", ONE):
        put(tmp_path / "r", OTHER, "theirs", path="theirs")
    assert state(tmp_path / "r") == "theirs"


def test_failure_in_the_block_leaves_the_old(tmp_path: Path) -> None:
    put(tmp_path / "r", ONE, "old")

    def fail(text: str) -> str:
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError, match="half"), tables.staged_folder(tmp_path / "r", ONE) as stage:
        fail((stage / "tracks.csv").write_text("half") and "half")
    assert state(tmp_path / "r") == "old"
    assert os.listdir(tmp_path) == ["r"]


def test_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "r", ONE, "old")

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables, "_fsync", full)
    with pytest.raises(NtaError, match=r"r: cannot be written \(No space left on device\); give another -o"):
        put(tmp_path / "r", ONE)
    assert state(tmp_path / "r") == "old"
    assert os.listdir(tmp_path) == ["r"]


def test_folder_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(NtaError, match=r"r: cannot be written \(Permission denied\); give another -o"):
        tables.check_folder(tmp_path / "r", ONE)


# --- kills ---


class Killed(BaseException):
    """The process is gone: nothing that it would do afterwards is done."""


class Death:
    """Let `steps` steps on the disk happen, then none."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.handles: list[int] = []

    def step(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def maybe(*args: Any, **kwargs: Any) -> Any:
            if self.left <= 0:
                if do is shutil.rmtree:  # not one step: it dies halfway
                    next((p for p in Path(args[0]).rglob("*") if p.is_file()), Path(args[0]) / "none").unlink(missing_ok=True)
                raise Killed
            self.left -= 1
            return do(*args, **kwargs)

        return maybe

    def lock(self, do: Callable[[Path], int]) -> Callable[[Path], int]:
        def locked(path: Path) -> int:
            self.handles.append(do(path))
            return self.handles[-1]

        return locked

    def buried(self) -> None:
        """Give back the locks, as the kernel does for a dead process."""
        for handle in self.handles:
            os.close(handle)


def put_and_die(folder: Path, steps: int) -> bool:
    """Write ``new`` to `folder`, killed after `steps` steps; return whether it got to the end."""
    death = Death(steps)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "rename"), (os, "fsync"), (Path, "mkdir"), (tables, "_exchange"), (tables, "write_text")):
            patch.setattr(owner, name, death.step(getattr(owner, name)))
        patch.setattr(shutil, "rmtree", death.step(shutil.rmtree))
        patch.setattr(tables, "_lock", death.lock(tables._lock))
        patch.setattr(tables, "_unlock", lambda handle: None)
        try:
            put(folder, ONE, "new")
        except Killed:
            return False
        finally:
            death.buried()
    return True


@pytest.fixture(params=["exchange", "no exchange"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Run with the system's exchange of two names, and without."""
    if request.param == "no exchange":
        monkeypatch.setattr(tables, "_exchange", lambda one, other: False)
        yield False
    else:
        if not sys.platform.startswith("linux"):
            pytest.skip("the exchange in one step is Linux's")
        yield True


@pytest.mark.parametrize("before", [None, "old"])
def test_kill_at_any_step_leaves_the_old_or_the_new_whole(tmp_path: Path, exchange: bool, before: str | None) -> None:
    seen, ended, steps = set(), False, 0
    while not ended:
        parent = tmp_path / str(steps)
        folder = parent / "r"
        if before:
            put(folder, ONE, before)
        ended = put_and_die(folder, steps)
        if exchange or before is None:
            assert state(folder) in (before, "new"), f"after {steps} steps, before any repair"
        tables.check_folder(folder, ONE)  # what every start does
        seen.add(state(folder))
        assert state(folder) in (before, "new"), f"after {steps} steps"
        if parent.exists():
            assert set(os.listdir(parent)) <= {"r"}, f"leftovers after {steps} steps"
        put(folder, ONE, "next")
        assert state(folder) == "next"
        assert os.listdir(parent) == ["r"]
        steps += 1
    assert seen == {before, "new"}
    assert 8 <= steps <= 30, "the steps were seen"


def test_exchange_is_one_step_here(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("the exchange in one step is Linux's")
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "is").write_text(name)
    assert tables._exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / name / "is").read_text() for name in "ab"] == ["b", "a"]
    with pytest.raises(OSError, match="No such file"):
        tables._exchange(tmp_path / "a", tmp_path / "none")


def test_failed_second_rename_puts_the_old_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "r", ONE, "old")
    monkeypatch.setattr(tables, "_exchange", lambda one, other: False)
    rename = os.rename

    def fail(one: Path, other: Path) -> None:
        if ".nta-new-" in str(one):
            raise OSError(5, "Input/output error")
        rename(one, other)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(NtaError, match="Input/output error"):
        put(tmp_path / "r", ONE)
    assert state(tmp_path / "r") == "old"
    assert os.listdir(tmp_path) == ["r"]


def test_kill_while_the_table_of_several_videos_is_written(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    tables.write_summary_table(path, [result])
    old = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        death = Death(0)
        patch.setattr(os, "replace", death.step(os.replace))
        patch.setattr(Path, "unlink", death.step(Path.unlink))
        patch.setattr(tables, "_lock", death.lock(tables._lock))
        patch.setattr(tables, "_unlock", lambda handle: None)
        with pytest.raises(Killed):
            tables.write_summary_table(path, [result, result])
        death.buried()
    assert path.read_bytes() == old
    assert len(os.listdir(tmp_path)) == 2
    tables.write_summary_table(path, [result, result])
    assert os.listdir(tmp_path) == ["summary.csv"]


_WAITING = """
import sys, time
from nta import tables
with tables.staged_folder(sys.argv[1], "1" * 64) as stage:
    (stage / "tracks.csv").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="locks and signals of POSIX")
def test_work_of_a_living_process_is_left_alone_that_of_a_killed_one_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    put(folder, ONE, "old")
    with subprocess.Popen([sys.executable, "-c", _WAITING, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        tables.check_folder(folder, ONE)
        assert len(os.listdir(tmp_path)) == 2
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    tables.check_folder(folder, ONE)
    assert os.listdir(tmp_path) == ["r"]
    assert state(folder) == "old"


def test_without_locks_age_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "r", ONE, "old")
    left = tmp_path / ".r.nta-new-00000000"
    left.mkdir()
    monkeypatch.setattr(tables, "fcntl", None)
    tables.check_folder(tmp_path / "r", ONE)
    assert left.exists(), "it may be at work"
    os.utime(left, (0, 0))
    tables.check_folder(tmp_path / "r", ONE)
    assert not left.exists()
    put(tmp_path / "r", ONE, "new")
    assert state(tmp_path / "r") == "new"
