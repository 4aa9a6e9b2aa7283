"""``nta analyze``: the main job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nta.cli.exits import SOME_FAILED, report
from nta.cli.options import (
    debug_option,
    json_option,
    knob_options,
    option,
    protocol,
    quiet_option,
    sop_option,
    threads_option,
    verbose_option,
)
from nta.cli.pages import Page
from nta.cli.progress import Stopwatch, progress_bars
from nta.cli.voice import about, notice, say, say_table, warning_line
from nta.errors import UsageError
from nta.settings import KNOBS, Settings

if TYPE_CHECKING:
    from nta.result import Result

_EXAMPLE = """\
nta analyze ev_sample.tif
nta analyze day1/*.tif --pixel-size-um 0.166 --fps 25 -o results"""

FILES = {"figure": "figure.png", "histogram": "histogram.csv"}
"""What to look at first in a result's folder."""


@dataclass(frozen=True)
class Job:
    """One video, and the folder of its result; the folder's name is the result's."""

    video: str
    folder: Path


@dataclass(frozen=True)
class Manner:
    """How a call analyses, writes and talks."""

    settings: Settings
    threads: int | None = None
    overwrite: bool = False
    with_figure: bool = True
    with_report: bool = True
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False


@click.command(cls=Page, example=_EXAMPLE)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True, type=click.Path())
@knob_options
@option(
    *("--output", "-o"),
    section="Output",
    metavar="DIR",
    type=click.Path(),
    default="nta_results",
    help="Folder of the results; that of each video is DIR/NAME. [default: nta_results]",
)
@option("--name", section="Output", metavar="NAME", help="NAME of the result, for a single video. [default: the video's, less its ending]")
@option("--overwrite", section="Output", is_flag=True, help="Replace the result of another video too.")
@json_option
@option("--no-figure", "with_figure", section="Output", is_flag=True, flag_value=False, default=True, help="Draw no figure.")
@option("--no-report", "with_report", section="Output", is_flag=True, flag_value=False, default=True, help="Write no report.html.")
@sop_option
@threads_option
@quiet_option
@verbose_option
@debug_option
def analyze(videos: tuple[str, ...], output: str, name: str | None, sop: str | None, **rest: Any) -> int:
    """Measure the sizes of the particles in each VIDEO.

    A VIDEO is a TIFF stack, an AVI, MOV, MP4, MKV or WMV file, or a folder or quoted glob of images. Its figure, tables and report go to
    DIR/NAME. Pixel size and frame rate are taken from the file where it has them.
    """
    settings = protocol(sop, {knob: rest.pop(knob) for knob in KNOBS})
    jobs = name_jobs(videos, name, Path(output))
    manner = Manner(settings, **rest)
    if len(jobs) > 1:
        return analyze_many(jobs, Path(output), manner)
    result = analyze_one(jobs[0], manner)
    tell(result, jobs[0], manner)
    return 0


def name_jobs(videos: Sequence[str], name: str | None, output: Path) -> list[Job]:
    """Give each video its folder; raises `UsageError` for a `name` that cannot be, or one name for two videos."""
    from nta.container import name_of

    if name is not None and len(videos) > 1:
        raise UsageError(f"--name: {name!r} cannot name {len(videos)} videos; give it with a single one")
    if name is not None and (name in ("", ".", "..") or "/" in name or "\\" in name):
        raise UsageError(f"--name: {name!r} is not the name of a folder; --output says where it is")
    taken: dict[str, str] = {}
    for video in videos:
        key = name if name is not None else name_of(video)
        if key in taken:
            raise UsageError(f"{taken[key]} and {video} would both be named {key!r}; analyse them in two calls, with another --name or -o")
        taken[key] = video
    return [Job(video, output / key) for key, video in taken.items()]


def analyze_many(jobs: Sequence[Job], output: Path, manner: Manner) -> int:
    """Analyse one video after the other, whatever happens to one of them, and write the table of all."""
    from nta import tables

    tables.check_summary_table(output / "summary.csv")
    rows, failures = [], []
    for i, job in enumerate(jobs, start=1):
        try:
            result = analyze_one(job, manner, title=f"[{i}/{len(jobs)}] {job.folder.name}")
            tell(result, job, manner, subject=job.video)
            rows.append(result.summary_frame())
        except Exception as error:
            failures.append((job.folder.name, report(error, debug=manner.debug, subject=job.video)[1]))
    tables.write_summary_table(output / "summary.csv", rows, failures)
    if not (manner.quiet or manner.as_json):
        say(f"{len(rows)} of {len(jobs)} videos analysed: {output / 'summary.csv'}")
    return SOME_FAILED if failures else 0


def analyze_one(job: Job, manner: Manner, title: str = "") -> Result:
    """Analyse a video and write its folder."""
    from nta.pipeline import analyze
    from nta.report import write_result

    refuse_early(job, manner)
    with progress_bars(title or job.folder.name, quiet=manner.quiet) as progress:
        watch = Stopwatch(progress)
        result = analyze(job.video, manner.settings, name=job.folder.name, threads=manner.threads, progress=watch)
        write_result(result, job.folder, overwrite=manner.overwrite, figure=manner.with_figure, report=manner.with_report)
    watch("write", 1, 1)
    if manner.verbose:
        tell_details(result, watch)
    return result


def refuse_early(job: Job, manner: Manner) -> None:
    """Refuse before the work a folder that may not be replaced; the content of the video is read only where there is a result."""
    from nta.tables import check_folder
    from nta.video import open_video

    if manner.overwrite or not job.folder.is_dir():
        check_folder(job.folder, "", overwrite=True)
    else:
        with open_video(job.video, manner.settings) as video:
            check_folder(job.folder, video.sha256())


def tell(result: Result, job: Job, manner: Manner, subject: str = "") -> None:
    """Print the warnings, then the table and where the files are, or the summary as JSON."""
    for warning in result.notices:
        warning_line(about(subject, warning.message))
    if manner.as_json:
        from nta.tables import summary, to_json

        say(to_json(summary(result)))
    elif not manner.quiet:
        from nta.report import terminal_summary

        say_table(terminal_summary(result))
        files = [f"{label:<10} {job.folder / file}" for label, file in FILES.items() if label != "figure" or manner.with_figure]
        say("\n".join(["", *files, *([""] if subject else [])]))


def tell_details(result: Result, watch: Stopwatch) -> None:
    """List on stderr every value used with its source, and the time of each stage."""
    for section, values in result.used.items():
        for name, used in values.items():
            spread = "" if used.sd is None else f" +- {used.sd:.3g}"
            notice(f"{section}: {name} = {used.value}{spread} ({used.source})")
    for stage, seconds in watch.seconds.items():
        notice(f"{stage}: {seconds:.2f} s")
