"""Result -> publication figure: the size distribution at one column width, as PNG, SVG and PDF."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nta.classes import SizeClass
from nta.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILES = ("figure.png", "figure.svg", "figure.pdf")

_MM = 1 / 25.4
_WIDTH_MM, _HEIGHT_MM = 88.0, 66.0
_LEFT_MM, _RIGHT_MM, _BOTTOM_MM = 12.5, 4.0, 10.0
_STRIP_MM, _ROW_MM = 3.6, 3.7
_NARROWEST_LABEL_MM = 4.5
_LINE, _RAW, _INK, _QUIET = "#0072B2", "#b5b5b5", "#222222", "#595959"  # blue of Okabe and Ito, greys
_CLASS_TINTS = ("#dcdcdc", "#f6dfae", "#bfe3d6", "#e8cbdf", "#cfd8f0")  # told apart by lightness too, and each is named
DPI = 300

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib: the same figure on every machine
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.labelpad": 2.5,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "svg.hashsalt": "nta",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # text stays text in an editor
}

_DRAWN_WIDTH = 0.03  # in ln d, of a curve: 3 %, as beads sold for uniform have
_LOG_ABOVE = 12.0  # ratio of the 99.5 % to the 0.5 % quantile from which small and large no longer share a linear axis


def draw(result: Result) -> Figure:
    """Draw the number-weighted size distribution of `result` with its 95 % band, the raw histogram faint behind it.

    The axis is linear (density in % per nm) or, where sizes span more than a factor of 12, logarithmic (% per decade). Classes are
    shaded and named; a rail above the curve carries D10, D50, D90, mode and mean.

    Returns
    -------
    matplotlib.figure.Figure
        88 mm wide, on its own canvas: pyplot and its state are not touched.
    """
    with style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH_MM * _MM, _HEIGHT_MM * _MM), dpi=DPI)
        FigureCanvasAgg(figure)
        _title(figure, result)
        if result.distribution.empty:
            _nothing(figure)
        else:
            _distribution(figure, result)
        return figure


def render(result: Result) -> dict[str, bytes]:
    """Return the figure files by name; the same bytes on every run."""
    figure = draw(result)
    return {name: _encode(figure, name.rpartition(".")[2]) for name in FILES}


def save(result: Result, folder: str | Path) -> None:
    """Write figure.png (300 dpi), figure.svg and figure.pdf into the existing `folder`."""
    for name, content in render(result).items():
        (Path(folder) / name).write_bytes(content)


def save_as(figure: Figure, path: str | Path) -> None:
    """Write `figure` to `path` as its suffix says (png, svg, pdf, or what else Matplotlib knows)."""
    path = Path(path)
    path.write_bytes(_encode(figure, path.suffix.lstrip(".").lower() or "png"))


def _encode(figure: Figure, kind: str) -> bytes:
    undated: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=undated.get(kind))
    return buffer.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """Give the block the style of all our figures, whatever the user's own is."""
    from matplotlib import style as styles

    with styles.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a video's name may be in any script
        yield


# --- what is drawn ---


@dataclass(frozen=True)
class _Axis:
    """Range in nm, and density per nm (linear) or per decade (log)."""

    log: bool
    low: float
    high: float

    def per_unit(self, edges: np.ndarray) -> np.ndarray:
        """Return the width of bins in the unit that the density is per."""
        return np.diff(np.log10(edges) if self.log else edges)


def _distribution(figure: Figure, result: Result) -> None:
    axis = _choose_axis(result)
    names, free = _place_names(figure, result, axis)
    top = _HEIGHT_MM - 3 * _ROW_MM - 1.6 - (_ROW_MM if free else 0.0) - _STRIP_MM
    ax = _axes(figure, top)
    ax.set_xscale("log" if axis.log else "linear")
    ax.set_xlim(axis.low, axis.high)
    x, line, low, high = _curve(result, axis)
    edges, raw = _raw_histogram(result, axis)
    tall = max(line.max(), high.max(), raw.max(initial=0.0))
    ax.set_ylim(0, 1.2 * tall)
    _shade(figure, ax, names, top)
    ax.stairs(raw, edges, fill=True, color=_RAW, alpha=0.55, linewidth=0, zorder=2)
    ax.fill_between(x, low, high, color=_LINE, alpha=0.22, linewidth=0, zorder=3)
    ax.plot(x, line, color=_LINE, linewidth=1.3, zorder=4)
    _unseen(ax, result, axis)
    stat = {name: result.distribution.statistic(name).value for name in ("mode", "mean", "d10", "d50", "d90")}
    _rail(ax, stat, 1.115 * tall, 0.03 * tall)
    _key(figure, stat)
    ax.set_xlabel("Hydrodynamic diameter (nm)")
    ax.set_ylabel("Number density (% per decade)" if axis.log else "Number density (% per nm)")
    _ticks(ax, axis)


def _unseen(ax: Axes, result: Result, axis: _Axis) -> None:
    """Hatch what is below the detection limit, and name it where there is room."""
    limit = result.detection_limit_nm
    if limit is None or limit <= axis.low:
        return
    ax.axvspan(axis.low, min(limit, axis.high), facecolor="white", alpha=0.75, hatch="////", edgecolor=_RAW, linewidth=0, zorder=5)
    high_mm = _x_mm(min(limit, axis.high), axis)
    if high_mm - _x_mm(axis.low, axis) > _NARROWEST_LABEL_MM:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        place = (high_mm - _LEFT_MM - 1.6) / (_WIDTH_MM - _LEFT_MM - _RIGHT_MM)
        ax.text(
            place, 0.06, f"not seen below {limit:.0f} nm", transform=ax.transAxes, rotation=90, ha="right", va="bottom", color=_QUIET,
            fontsize=6.5, bbox=box, zorder=6,
        )  # fmt: skip


def _axes(figure: Figure, top_mm: float) -> Axes:
    width = (_WIDTH_MM - _LEFT_MM - _RIGHT_MM) / _WIDTH_MM
    ax = figure.add_axes((_LEFT_MM / _WIDTH_MM, _BOTTOM_MM / _HEIGHT_MM, width, (top_mm - _BOTTOM_MM) / _HEIGHT_MM))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _nothing(figure: Figure) -> None:
    ax = _axes(figure, _HEIGHT_MM - _ROW_MM - 2.5)
    ax.set(xlim=(0, 500), ylim=(0, 1), yticks=[], xlabel="Hydrodynamic diameter (nm)", ylabel="Number density")
    ax.text(0.5, 0.5, "no particles sized", transform=ax.transAxes, ha="center", va="center", color=_QUIET, fontsize=8)


def _title(figure: Figure, result: Result) -> None:
    count = result.counts()["tracks_sized"]
    number = f"n = {count} track{'' if count == 1 else 's'}"
    room = _WIDTH_MM - _RIGHT_MM - 2.0 - _width_mm(figure, number, 7) - 4.0
    _text(figure, _WIDTH_MM - _RIGHT_MM, 1, number, ha="right", fontsize=7)
    _text(figure, 2.0, 1, _shorten(figure, " ".join(result.source.name.split()), room), fontsize=7, fontweight="bold")


def _shorten(figure: Figure, name: str, room_mm: float) -> str:
    """Cut the middle out of a name that is too long; its end often tells videos apart."""
    shown, keep = name, min(len(name), 100)
    while _width_mm(figure, shown, 7, "bold") > room_mm and keep > 2:
        keep -= 1
        shown = f"{name[: keep - keep // 2].rstrip()} ... {name[len(name) - keep // 2 :].lstrip()}"
    return shown


def _key(figure: Figure, stat: dict[str, float]) -> None:
    """Write what the marks mean, and the values they stand at, in two rows under the title."""
    entries = [
        [("band", 5.0, "number-weighted, 95 % band"), ("raw", 5.0, "raw, per track")],
        [
            ("mode", 2.4, f"mode {_nm(stat['mode'])}"),
            ("mean", 2.4, f"mean {_nm(stat['mean'])}"),
            ("rail", 5.0, f"D10/50/90 {_nm(stat['d10'])}/{_nm(stat['d50'])}/{_nm(stat['d90'])} nm"),
        ],
    ]
    ax = figure.add_axes((0, 0, 1, 1), zorder=-1)
    ax.set(xlim=(0, _WIDTH_MM), ylim=(0, _HEIGHT_MM))
    ax.axis("off")
    for row, items in enumerate(entries, start=2):
        x = 2.0
        for mark, wide, text in items:
            _mark(ax, mark, x, _row_y(row) + 0.05)
            _text(figure, x + wide + 1.0, row, text, color=_QUIET, fontsize=6.5)
            x += wide + 1.0 + _width_mm(figure, text, 6.5) + 3.5


def _mark(ax: Axes, mark: str, x: float, y: float) -> None:
    """Draw the sample of one kind of mark from (x, y) on, in mm."""
    if mark == "band":
        ax.fill_between([x, x + 5], y - 0.9, y + 0.9, color=_LINE, alpha=0.22, linewidth=0)
        ax.plot([x, x + 5], [y, y], color=_LINE, linewidth=1.3)
    elif mark == "raw":
        ax.fill_between([x, x + 5], y - 0.9, y + 0.9, color=_RAW, alpha=0.55, linewidth=0)
    elif mark == "rail":
        _rail(ax, {"d10": x + 0.3, "d50": x + 2.2, "d90": x + 4.7}, y, 0.9)
    else:
        ax.plot([x + 1.2], [y], **_MARKERS[mark])


_MARKERS: dict[str, dict[str, Any]] = {
    "mode": {"marker": "v", "markersize": 4.0, "markerfacecolor": _LINE, "markeredgecolor": "white", "markeredgewidth": 0.4, "zorder": 7},
    "mean": {"marker": "D", "markersize": 3.2, "markerfacecolor": "white", "markeredgecolor": _LINE, "markeredgewidth": 0.8, "zorder": 6},
}


def _rail(ax: Axes, stat: dict[str, float], y: float, tick: float) -> None:
    """Draw D10 to D90 as a bar with D50 across it; mode and mean, where given, on it."""
    ax.plot([stat["d10"], stat["d90"]], [y, y], color=_QUIET, linewidth=0.8, solid_capstyle="butt", zorder=5)
    for name, width, reach in (("d10", 0.8, 0.8), ("d90", 0.8, 0.8), ("d50", 1.4, 1.1)):
        ax.plot([stat[name]] * 2, [y - reach * tick, y + reach * tick], color=_QUIET, linewidth=width, solid_capstyle="butt", zorder=5)
    for name in ("mean", "mode"):
        if name in stat:
            ax.plot([stat[name]], [y], **_MARKERS[name])


# --- classes ---


@dataclass(frozen=True)
class _Name:
    """A class in view, where it begins and ends in mm, and where its name goes: in the strip, or free above it."""

    label: str
    tint: str
    low_nm: float
    high_nm: float
    low_mm: float
    high_mm: float
    centre_mm: float
    half_mm: float
    in_strip: bool


def _place_names(figure: Figure, result: Result, axis: _Axis) -> tuple[list[_Name], bool]:
    names: list[_Name] = []
    taken, end = 2.0, _WIDTH_MM - _RIGHT_MM
    for number, c in enumerate(result.classes.classes):
        low, high = max(c.low_nm, axis.low), min(c.high_nm, axis.high)
        if high <= low:
            continue
        low_mm, high_mm = _x_mm(low, axis), _x_mm(high, axis)
        label, centre = _label(c), (low_mm + high_mm) / 2
        half = _width_mm(figure, label, 6.5) / 2
        fits = 2 * half + 1.0 <= high_mm - low_mm
        if not fits:
            centre = min(max(centre, taken + half), end - half)
            if centre - half < taken:
                label = ""  # no room even above the strip; the report names every class
            else:
                taken = centre + half + 2.5
        tint = _CLASS_TINTS[number % len(_CLASS_TINTS)]
        names.append(_Name(label, tint, low, high, low_mm, high_mm, centre, half, fits))
    return names, any(n.label and not n.in_strip for n in names)


def _shade(figure: Figure, ax: Axes, names: list[_Name], top_mm: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    for n in names:
        ax.axvspan(n.low_nm, n.high_nm, color=n.tint, alpha=0.28, linewidth=0, zorder=0)
        box = (n.low_mm / _WIDTH_MM, top_mm / _HEIGHT_MM)
        size = ((n.high_mm - n.low_mm) / _WIDTH_MM, _STRIP_MM / _HEIGHT_MM)
        figure.add_artist(Rectangle(box, *size, facecolor=n.tint, edgecolor="white", linewidth=0.6, transform=figure.transFigure))
        y_mm = top_mm + _STRIP_MM / 2 if n.in_strip else top_mm + _STRIP_MM + 0.62 * _ROW_MM
        place = (n.centre_mm / _WIDTH_MM, y_mm / _HEIGHT_MM)
        figure.text(*place, n.label, ha="center", va="center_baseline", fontsize=6.5, parse_math=False)
        if n.label and not n.in_strip:
            middle = (n.low_mm + n.high_mm) / 2
            nearest = min(max(middle, n.centre_mm - n.half_mm + 1.0), n.centre_mm + n.half_mm - 1.0)
            x, y = (middle, nearest), (top_mm + 0.6 * _STRIP_MM, y_mm - 1.4)
            ends = [v / _WIDTH_MM for v in x], [v / _HEIGHT_MM for v in y]
            figure.add_artist(Line2D(*ends, color=_QUIET, linewidth=0.5, transform=figure.transFigure))


def _label(c: SizeClass) -> str:
    if c.name.startswith("below_"):
        return f"< {c.name.removeprefix('below_')}"
    return c.name.replace("_", " ")[:30]


# --- numbers ---


def _choose_axis(result: Result) -> _Axis:
    dist = result.distribution
    cumulative = np.cumsum(dist.weight)
    least, most = (float(np.interp(q, cumulative, dist.grid_nm)) for q in (0.005, 0.995))
    raw = dist.raw_nm[np.isfinite(dist.raw_nm)]
    raw_least, raw_most = np.quantile(raw, [0.02, 0.98]) if len(raw) else (least, most)
    if most / least > _LOG_ABOVE:
        return _Axis(True, min(least, raw_least) / 1.15, max(most, raw_most) * 1.15)
    return _Axis(False, 0.0, _round_up(1.08 * max(most, raw_most)))


def _round_up(value: float) -> float:
    decade = 10 ** math.floor(math.log10(value))
    return decade * next(m for m in (1, 1.2, 1.4, 1.6, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10) if m * decade >= value)


def _curve(result: Result, axis: _Axis) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return diameters, density in % and its 95 % band: what is narrower is drawn as wide as `_DRAWN_WIDTH`."""
    from scipy.interpolate import Akima1DInterpolator
    from scipy.ndimage import gaussian_filter1d

    dist = result.distribution
    ln = np.log(dist.grid_nm)
    step = ln[1] - ln[0]
    x = np.geomspace(max(axis.low, dist.grid_nm[0]), min(axis.high, dist.grid_nm[-1]), 800)
    drawn = gaussian_filter1d(np.vstack([dist.weight, dist.replicates]), _DRAWN_WIDTH / step, axis=1, mode="constant") / step
    drawn[drawn < 1e-12] = 0.0  # slopes between vanishing weights overflow
    per_ln = np.maximum(Akima1DInterpolator(ln, drawn[0], method="makima")(np.log(x)), 0)
    low = high = per_ln
    if len(dist.replicates):
        # a factor s on the diameters moves a replicate's curve by ln s
        moved = [np.interp(np.log(x / s), ln, w, left=0, right=0) for w, s in zip(drawn[1:], dist.scale, strict=True)]
        low, high = np.quantile(moved, [0.025, 0.975], axis=0)
        # the ragged edge of a quantile of few replicates, evened out
        evened = _DRAWN_WIDTH / math.log(x[1] / x[0])
        low, high = gaussian_filter1d(low, 0.6 * evened), gaussian_filter1d(high, 0.6 * evened)
        low, high = np.minimum(low, per_ln), np.maximum(high, per_ln)
    unit = 100 * (math.log(10) if axis.log else 1 / x)
    return x, per_ln * unit, low * unit, high * unit


def _raw_histogram(result: Result, axis: _Axis) -> tuple[np.ndarray, np.ndarray]:
    """Return edges and density in %: bins as wide as the number of tracks asks (Freedman and Diaconis), rounded."""
    raw = result.distribution.raw_nm
    raw = raw[np.isfinite(raw)]
    if not len(raw):
        return np.array([axis.low, axis.high]), np.zeros(1)
    scaled = np.log10(raw) if axis.log else raw
    quarter, three = np.quantile(scaled, [0.25, 0.75])
    wanted = 2 * (three - quarter) / len(raw) ** (1 / 3)
    if axis.log:
        step = next((1 / n for n in (10, 20, 40) if 1 / n <= wanted), 1 / 40)
        edges = 10 ** (step * np.arange(math.floor(math.log10(axis.low) / step), math.ceil(math.log10(axis.high) / step) + 1))
    else:
        span = axis.high - axis.low
        step = next((s for s in (100, 50, 25, 20, 10, 5) if s <= max(wanted, span / 80) and s <= span / 12), 5)
        edges = float(step) * np.arange(math.ceil(axis.high / step) + 1)
    return edges, 100 * np.histogram(raw, edges)[0] / len(raw) / axis.per_unit(edges)


def _ticks(ax: Axes, axis: _Axis) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    ax.yaxis.set_major_locator(MaxNLocator(5))
    if not axis.log:
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
        return
    subs = (1.0, 2.0, 5.0) if axis.high / axis.low < 300 else (1.0, 3.0)
    ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    ax.xaxis.set_minor_locator(LogLocator(subs=tuple(range(1, 10)), numticks=50))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _nm(value: float) -> str:
    return f"{value:.0f}"


# --- places, in mm from the lower left ---


def _row_y(row: int) -> float:
    return _HEIGHT_MM - 0.4 - (row - 0.5) * _ROW_MM


def _text(figure: Figure, x_mm: float, row: int, text: str, **how: Any) -> None:
    figure.text(x_mm / _WIDTH_MM, _row_y(row) / _HEIGHT_MM, text, va="center_baseline", parse_math=False, **how)


def _x_mm(diameter: float, axis: _Axis) -> float:
    f = math.log if axis.log else float
    share = (f(diameter) - f(axis.low)) / (f(axis.high) - f(axis.low))
    return _LEFT_MM + share * (_WIDTH_MM - _LEFT_MM - _RIGHT_MM)


def _width_mm(figure: Figure, text: str, points: float, weight: str = "normal") -> float:
    from matplotlib.text import Text

    probe = Text(0, 0, text, fontsize=points, fontweight=weight, parse_math=False, figure=figure)
    return float(probe.get_window_extent(figure.canvas.get_renderer()).width) / DPI / _MM  # type: ignore[attr-defined]
