"""``nta inspect``: a first look at a video, before it is analysed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nta.cli.analyze import Manner, name_jobs
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
from nta.settings import KNOBS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from nta.inspect import Inspection

_EXAMPLE = """\
nta inspect video.tif
nta inspect day1/*.tif --polarity dark -o results"""

_SECTIONS = ("video", "spots", "medium")
_LABELS = {
    "spots_per_frame": "particles",
    "wrong_link_share": "wrong links",
    "snr": "signal-to-noise",
    "saturated_share": "saturation",
    "spot_width_px": "spot width",
    "wide_share": "sharpness",
    "flow_px": "flow",
    "shake_px": "vibration",
    "flicker": "flicker",
    "repeated_frames": "repeated frames",
    "noise_grey": "noise",
    "zero_share": "black level",
    "background_ratio": "background",
    "still_things": "still things",
}
_CALIBRATION = {
    "pixel_size_um": ("pixel size", "um", "not in the file; sizes need it"),
    "fps": ("frame rate", "1/s", "not in the file; sizes need it"),
    "exposure_ms": ("exposure", "ms", "not in the file; else estimated"),
    "temperature_c": ("temperature", "C", "not in the file; else 25 C is assumed"),
}
_COLOURS = {"good": "green", "look": "yellow", "bad": "bold red", "unknown": "dim"}


@click.command(cls=Page, example=_EXAMPLE)
@click.argument("videos", metavar="VIDEO...", nargs=-1, required=True, type=click.Path())
@partial(knob_options, sections=_SECTIONS)
@option(
    *("--output", "-o"),
    section="Output",
    metavar="DIR",
    type=click.Path(),
    default="nta_results",
    help="Folder of the pictures; that of each video is DIR/NAME_inspect.png. [default: nta_results]",
)
@json_option
@option("--no-figure", "with_figure", section="Output", is_flag=True, flag_value=False, default=True, help="Draw no picture.")
@sop_option
@threads_option
@quiet_option
@verbose_option
@debug_option
def inspect(videos: tuple[str, ...], output: str, sop: str | None, **rest: Any) -> int:
    """Look at each VIDEO before it is analysed.

    Says what the file states and what is missing, judges light, focus, density and motion by some frames spread over the video, and
    ends with the command that analyses it. Pixel size and frame rate may be missing. A picture with the particles found is written to
    DIR/NAME_inspect.png.
    """
    settings = protocol(sop, {knob: rest.pop(knob) for knob in KNOBS if KNOBS[knob].section in _SECTIONS})
    manner = Manner(settings, **rest)
    jobs = [(job.video, job.folder.with_name(f"{job.folder.name}_inspect.png")) for job in name_jobs(videos, None, Path(output))]
    failed = False
    for video, picture in jobs:
        try:
            inspect_one(video, picture, manner, several=len(jobs) > 1)
        except Exception as error:
            if len(jobs) == 1:
                raise
            report(error, debug=manner.debug, subject=video)
            failed = True
    return SOME_FAILED if failed else 0


def inspect_one(video: str, picture: Path, manner: Manner, *, several: bool) -> None:
    """Inspect a video, write its picture, and print what was found."""
    from nta import preview
    from nta.inspect import inspect

    if manner.with_figure:
        preview.check_place(picture)
    with progress_bars(picture.stem.removesuffix("_inspect"), quiet=manner.quiet) as progress:
        watch = Stopwatch(progress)
        found = inspect(video, manner.settings, threads=manner.threads, progress=watch)
        watch("look closer", 1, 1)
        if manner.with_figure:
            preview.write(found, picture)
            watch("draw", 1, 1)
    for warning in found.notices:
        warning_line(about(video if several else "", warning.message))
    if manner.as_json:
        from nta.tables import to_json

        say(to_json({**found.summary(), "picture": str(picture) if manner.with_figure else None}))
    elif not manner.quiet:
        say_table(terminal_page(found))
        place = ["", f"picture  {picture}"] if manner.with_figure else []
        say("\n".join(["", "to analyse it:", f"  {found.suggestion}", *place, *([""] if several else [])]))
    if manner.verbose:
        for name, used in found.spots.chosen.items():
            notice(f"spots: {name} = {used.value} ({used.source})")
        for stage, seconds in watch.seconds.items():
            notice(f"{stage}: {seconds:.2f} s")


def terminal_page(found: Inspection) -> RenderableType:
    """Return the inspection as two short tables: what is known, and how good it is."""
    from rich.console import Group
    from rich.text import Text

    head = Text(" ".join(found.name.split()), style="bold")
    length = "" if found.length_s is None else f", {found.length_s:.4g} s"
    facts = f"  {found.kind}, {found.n_frames} frames{length}, {found.width} x {found.height} px, {found.dtype}"
    head.append(facts, style="not bold dim")
    return Group(head, Text(""), _known_table(found), Text(""), _quality_table(found))


def _known_table(found: Inspection) -> Table:
    from rich.text import Text

    table = _table(15, 20, 0)
    for knob, (label, unit, missing) in _CALIBRATION.items():
        known = found.calibration[knob]
        if known is None:
            refused = f"{found.refused[knob]} is not used" if knob in found.refused else missing
            table.add_row(label, Text("?", style="bold yellow"), Text(f"give {KNOBS[knob].option} ({refused})", style="yellow"))
            continue
        spread = f" +- {known.used.sd:.2g}" if known.used.sd else ""
        place = {"file": "from the file: ", "sop": "from the protocol: "}.get(known.used.source, "given: ") + known.where
        table.add_row(label, f"{known.used.value:.6g}{spread} {unit}", Text(place, style="dim"))
    return table


def _quality_table(found: Inspection) -> Table:
    from rich.text import Text

    table = _table(15, 27, 4, 0)
    for f in found.findings:
        verdict = "-" if f.verdict == "unknown" else f.verdict
        table.add_row(_LABELS[f.name], f.shown, Text(verdict, style=_COLOURS[f.verdict]), Text(f.meaning, style="dim"))
    return table


def _table(*widths: int) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for width in widths:
        table.add_column(min_width=width or None, no_wrap=width > 0)
    return table
