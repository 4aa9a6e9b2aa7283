"""Result -> one self-contained HTML page, the terminal summary, and the whole folder of a result; computes nothing."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nta import figure as figures
from nta import tables
from nta.flags import MEANING, Flag, names
from nta.result import Result
from nta.settings import KNOBS

if TYPE_CHECKING:
    from rich.console import RenderableType

STATISTICS = {"d10": "D10", "d50": "D50 (median)", "d90": "D90", "mode": "mode", "mean": "mean", "sd": "SD"}

_CALIBRATION = {
    "pixel_size_um": ("pixel size", "um", "--pixel-size-um"),
    "fps": ("frame rate", "1/s", "--fps"),
    "exposure_ms": ("exposure", "ms", "--exposure-ms"),
    "temperature_c": ("temperature", "C", "--temperature-c"),
}
_SPOKEN = {"pixel_size_um": "um/px", "fps": "fps"}
_SOURCES = {
    "option": "given",
    "sop": "from the protocol file",
    "file": "from the video's file",
    "measured": "measured from the video",
    "assumed": "assumed: not known",
    "default": "default",
}


def write_result(result: Result, folder: str | Path, *, overwrite: bool = False, figure: bool = True, report: bool = True) -> None:
    """Write the folder of a result: tables, settings, figure, report; in one step, or not at all.

    Parameters
    ----------
    folder : the result's own folder, ``DIR/<name>``
    overwrite : replace the result of another input too
    figure, report : draw the figure files, write the page; a page without figure files has no figure either

    Raises
    ------
    UsageError
        When `folder` holds the result of another input (and not `overwrite`), or something that nta did not write.
    NtaError
        When it cannot be written: a full disk, a missing permission.
    """
    with tables.staged_folder(folder, result.source.sha256, overwrite=overwrite) as stage:
        tables.write_tables(result, stage)
        drawn = figures.render(result) if figure else {}
        for name, content in drawn.items():
            (stage / name).write_bytes(content)
        if report:
            tables.write_text(stage / "report.html", page(result, drawn.get("figure.svg", b"").decode("utf-8")))


def save(result: Result, folder: str | Path) -> None:
    """Write report.html, with its figure inside, into the existing `folder`."""
    svg = figures.render(result)["figure.svg"].decode("utf-8")
    tables.write_text(Path(folder) / "report.html", page(result, svg))


def page(result: Result, svg: str = "") -> str:
    """Return the report as one HTML page that needs no other file and no network; `svg` is the figure."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    jinja = Environment(
        loader=PackageLoader("nta"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters |= {"diameter": _diameter, "interval": _interval, "percent": _percent, "range": _range, "power": _power, "plain": _plain}
    inline = Markup(svg[svg.index("<svg") :]) if svg else ""  # an SVG of our own drawing; the XML head has no place inside a page
    return jinja.get_template("report.html.j2").render(
        s=result.summary(),
        svg=inline,
        statistics=STATISTICS,
        calibration=_CALIBRATION,
        sources=_SOURCES,
        knobs=KNOBS,
        meaning={names(flag): MEANING[flag] for flag in Flag},
    )


def terminal_summary(result: Result) -> RenderableType:
    """Return the result as a short table for a terminal; plain aligned text where there are no colours."""
    from rich.console import Group
    from rich.text import Text

    s = result.summary()
    lines: list[RenderableType] = [_headline(s), Text("")]
    if s["size_nm"]["d50"]["value"] is None:
        return Group(*lines, Text("no particle was sized"), Text(""), _conditions(s))
    lines += [_size_table(s), Text(""), _class_table(s), Text("")]
    if s["detection_limit_nm"] is not None:
        limit = {name: _diameter(value) for name, value in s["detection_limit_nm"].items()}
        text = f"smallest size that can be seen: {limit['diameter_nm']} nm (95 % interval {limit['low_nm']} - {limit['high_nm']})"
        lines.append(Text(text))
    if s["concentration_per_ml"] is not None:
        c = s["concentration_per_ml"]
        lines.append(Text(f"{c['value']:.2e} particles per mL (95 % interval {c['low']:.2e} - {c['high']:.2e})"))
    return Group(*lines, _conditions(s))


def _headline(s: dict[str, Any]) -> Any:
    from rich.text import Text

    counts = s["counts"]
    refused = ", ".join(f"{n} {flag.replace('_', ' ')}" for flag, n in counts["rejected"].items() if n)
    line = Text(s["input"]["name"], style="bold")
    line.append(f"  {counts['tracks_sized']} of {counts['tracks']} tracks sized", style="not bold")
    line.append(f" ({refused})" if refused else "", style="not bold dim")
    return line.append(f", {counts['frames']} frames", style="not bold dim")


def _size_table(s: dict[str, Any]) -> Any:
    table = _table("diameter", "", "nm", "95 % interval")
    for name in ("d10", "d50", "d90", "mode", "mean"):
        stat = s["size_nm"][name]
        table.add_row(STATISTICS[name], "", _diameter(stat), _interval(stat), style="bold" if name == "d50" else "")
    return table


def _class_table(s: dict[str, Any]) -> Any:
    table = _table("class", "nm", "share", "95 % interval")
    for c in s["classes"]:
        share = c["fraction"]
        table.add_row(c["name"], _range(c), _percent(share["value"]), _percent(share["low"], share["high"]))
    return table


def _table(name: str, *others: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(name, min_width=16, no_wrap=True)
    for other, width in zip(others, (10, 6, 13), strict=True):  # so that one table stands under the other
        table.add_column(other, justify="right", min_width=width, no_wrap=True)
    return table


def _conditions(s: dict[str, Any]) -> Any:
    """Return pixel size, frame rate, exposure and temperature in one line, marked where assumed or estimated."""
    from rich.text import Text

    parts = []
    for name, (label, unit, option) in _CALIBRATION.items():
        used = s["calibration"][name]
        if used is None:
            parts.append(Text(f"{label} unknown (give {option})", style="yellow"))
            continue
        value = f"{_plain(used['value'])} {_SPOKEN.get(name, unit)}"
        word = {"assumed": "assumed", "measured": "estimated"}.get(used["source"])
        parts.append(Text(f"{value} ({word}; give {option})", style="yellow") if word else Text(value, style="dim"))
    return Text("at ", style="dim") + Text(", ").join(parts)


# --- numbers in words ---


def _decimals(value: float) -> int:
    return 1 if abs(value) < 100 else 0


def _diameter(stat: dict[str, Any] | float | None) -> str:
    """Format a diameter in nm: 95.3, 146."""
    value = stat["value"] if isinstance(stat, dict) else stat
    return "-" if value is None else f"{value:.{_decimals(value)}f}"


def _interval(stat: dict[str, Any], kind: str = "") -> str:
    """Format the interval of a diameter with the decimals of its value; `kind` ``_stat`` for that from sampling alone."""
    value, low, high = stat["value"], stat[f"low{kind}"], stat[f"high{kind}"]
    if None in (value, low, high):
        return "-"
    return f"{low:.{_decimals(value)}f} - {high:.{_decimals(value)}f}"


def _percent(*shares: float | None) -> str:
    """Format a share, or both ends of its interval, in percent: 55.4 %, 42.9 - 66.2 %."""
    return "-" if None in shares else " - ".join(f"{100 * share:.1f}" for share in shares if share is not None) + " %"


def _range(c: dict[str, Any]) -> str:
    """Format the edges of a class: 30 - 100, < 30, >= 1000."""
    low, high = c["low_nm"], c["high_nm"]
    if not low:
        return f"< {high:g}" if high else "all"
    return f"{low:g} - {high:g}" if high else f">= {low:g}"


def _power(value: float | None) -> Any:
    """Format a concentration as HTML: 1.23 x 10^9."""
    from markupsafe import Markup

    if value is None:
        return "-"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits, exponent = f"{value:.2e}".split("e")
    return Markup('<span class="power">{} &times; 10<sup>{}</sup></span>').format(digits, int(exponent))


def _plain(value: Any) -> str:
    """Format any setting: numbers with 6 digits, ``None`` as what it stands for."""
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.6g}") if isinstance(value, float) else str(value)
