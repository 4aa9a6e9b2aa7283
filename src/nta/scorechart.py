"""Scores -> figure: what was put in and what came out, a row a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nta import figure as figures
from nta.classes import SizeClass, parse_classes
from nta.recipe import Recipe
from nta.score import Line, Score, by_recipe, components
from nta.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILES = ("scorecard.png", "scorecard.svg", "scorecard.pdf")
STATISTICS = {"d10": "D10", "d50": "D50", "d90": "D90", "mean": "mean", "mode": "mode"}

_MM = 1 / 25.4
_WIDTH_MM, _GAP_MM, _HEAD_MM, _FOOT_MM = 180.0, 9.5, 13.0, 10.0
_ROW_MM, _PAGE_MM = (15.0, 24.0), 285.0  # lowest and highest row; many recipes share a page as long as they can
_CURVES_MM, _ERRORS_MM, _SHARES_MM = (4.0, 78.0), (94.0, 42.0), (152.5, 24.0)  # where the three columns begin, and their widths
_MEASURED, _TRUE, _INK, _QUIET, _FAINT = "#0072B2", "#D55E00", "#222222", "#595959", "#c9c9c9"  # of Okabe and Ito, and greys
_LOG_STEP = 0.01
_LEAST_RATIO = 6.0  # of the ends of an axis
_LARGEST_ERROR = 0.6  # half the widest axis of deviations; what lies beyond is an arrow at its edge


def draw(scores: Sequence[Score]) -> Figure:
    """Draw a row a recipe: the measured distributions over the true one, the deviation of each statistic from the sample, the classes.

    In the first, a line a video; the sample is shaded, a stem where it is exactly one size, as high as its share. In the others the dot
    is the estimate, the bar its 95 % interval, the black tick the particles present, by which the dot is judged; what is not judged is
    pale.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide, on its own canvas: pyplot and its state are not touched.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = list(by_recipe(scores).values())
    around = _HEAD_MM + _FOOT_MM + (len(groups) - 1) * _GAP_MM
    row = min(max((_PAGE_MM - around) / len(groups), _ROW_MM[0]), _ROW_MM[1])
    height = around + len(groups) * row
    with figures.style():
        figure = Figure(figsize=(_WIDTH_MM * _MM, height * _MM), dpi=figures.DPI)
        FigureCanvasAgg(figure)
        for i, group in enumerate(groups):
            bottom = height - _HEAD_MM - (i + 1) * row - i * _GAP_MM
            last = i == len(groups) - 1
            _curves(_axes(figure, _CURVES_MM, (bottom, row), height), group, last)
            _errors(_axes(figure, _ERRORS_MM, (bottom, row), height), group, last)
            _shares(_axes(figure, _SHARES_MM, (bottom, row), height), group, last)
        _key(figure, height)
    return figure


def save(scores: Sequence[Score], folder: Path) -> None:
    """Write scorecard.png (300 dpi), scorecard.svg and scorecard.pdf into the existing `folder`."""
    figure = draw(scores)
    for name in FILES:
        figures.save_as(figure, folder / name)


def _axes(figure: Figure, column: tuple[float, float], row: tuple[float, float], height: float) -> Axes:
    (left, width), (bottom, tall) = column, row
    ax = figure.add_axes((left / _WIDTH_MM, bottom / height, width / _WIDTH_MM, tall / height))
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_yticks([])
    return ax


# --- distributions ---


def _curves(ax: Axes, group: Sequence[Score], last: bool) -> None:
    recipe, done = group[0].recipe, [s for s in group if s.weight.any()]
    grid, true = _true_density(recipe)
    low, high = _limits(recipe, done)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    x = np.geomspace(low, high, 500)
    measured = [_smooth(s, x) for s in done]
    top = max([m.max() for m in measured], default=1.0)
    if true.any():
        top = max(top, true.max())
        ax.fill_between(grid, true, color=_TRUE, alpha=0.25, linewidth=0, zorder=1)
    for p in components(recipe):
        if p.gsd == 1:
            stem = [0, top * p.fraction]
            ax.plot([p.diameter_nm] * 2, stem, color=_TRUE, linewidth=2.2, alpha=0.6, solid_capstyle="butt", zorder=1)
    for m in measured:
        ax.plot(x, m, color=_MEASURED, linewidth=1.0, alpha=max(0.4, 1 / len(done)), zorder=3)
    ax.set_ylim(0, 1.08 * top)
    ax.text(0, 1.04, recipe.name, transform=ax.transAxes, fontsize=7.5, fontweight="bold", parse_math=False)
    failed = sum(bool(s.error) for s in group)
    if not done:
        ax.text(0.5, 0.5, "failed" if failed else "no particles sized", transform=ax.transAxes, ha="center", color=_QUIET)
    notes = [f"{len(done)} video{'' if len(done) == 1 else 's'}", *([f"{failed} failed"] if failed else [])]
    if distances := [s.w1_sample for s in done]:
        notes.append(f"W1 = {np.mean(distances):.3f} ({np.mean([s.w1_luck for s in done]):.3f} is luck)")
    ax.text(1, 1.04, ", ".join(notes), transform=ax.transAxes, ha="right", fontsize=6.5, color=_QUIET)
    _log_ticks(ax, high / low)
    if last:
        ax.set_xlabel("Hydrodynamic diameter (nm)")


def _smooth(score: Score, x: np.ndarray) -> np.ndarray:
    """Return the measured density per ln d at `x`, drawn smoothly between the grid points."""
    from scipy.interpolate import Akima1DInterpolator

    ln = np.log(score.grid_nm)
    weight = np.where(score.weight > 1e-12, score.weight, 0.0)  # slopes between vanishing weights overflow
    found = Akima1DInterpolator(ln, weight / (ln[1] - ln[0]), method="makima")(np.log(x))
    return np.maximum(np.nan_to_num(found), 0.0)


def _true_density(recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Return diameters and the sample's density per ln d, of what is not exactly one size."""
    ln = np.arange(math.log(5), math.log(10000), _LOG_STEP)
    density = np.zeros(len(ln))
    for p in components(recipe):
        if p.gsd > 1:
            sd = math.log(p.gsd)
            z = (ln - math.log(p.diameter_nm)) / sd
            density += p.fraction * np.exp(-0.5 * z**2) / (sd * math.sqrt(2 * math.pi))
    return np.exp(ln), density


def _limits(recipe: Recipe, done: Sequence[Score]) -> tuple[float, float]:
    """Return the axis: three standard deviations of every population, 99 % of what was measured, and some room."""
    ends = [p.diameter_nm * p.gsd**k for p in components(recipe) for k in (-3, 3)]
    for s in done:
        ends += [float(np.interp(q, np.cumsum(s.weight), s.grid_nm)) for q in (0.005, 0.995)]
    low, high = min(ends), max(ends)
    room = max(1.15, math.sqrt(_LEAST_RATIO * low / high))
    return low / room, high * room


def _log_ticks(ax: Axes, ratio: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if ratio < 12 else (1.0, 2.0, 5.0) if ratio < 300 else (1.0, 3.0)
    ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    ax.xaxis.set_minor_locator(LogLocator(subs=tuple(range(1, 10)), numticks=50))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


# --- statistics ---


def _errors(ax: Axes, group: Sequence[Score], last: bool) -> None:
    marks = _marks(group, list(STATISTICS))
    reach = _reach([line for _, line in marks])
    _rows(ax, list(STATISTICS.values()))
    ax.set_xlim(-reach, reach)
    ax.axvline(0, color=_TRUE, linewidth=1.0, alpha=0.7, zorder=1)
    for y, line in marks:
        _dot(ax, y, line, reach, zero=line.sample, unit=line.sample)
    if last:
        ax.set_xlabel("Deviation from the sample (%)")


def _shares(ax: Axes, group: Sequence[Score], last: bool) -> None:
    classes = parse_classes(Settings().classes.classes)
    marks = _marks(group, [f"fraction_{c.name}" for c in classes])
    _rows(ax, [_range(c) for c in classes])
    ax.set(xlim=(-4, 104), xticks=[0, 50, 100])
    for row, line in {round(y): line for y, line in marks}.items():
        ax.plot([100 * line.sample] * 2, [row - 0.42, row + 0.42], color=_TRUE, linewidth=1.6, alpha=0.7, solid_capstyle="butt", zorder=1)
    for y, line in marks:
        _dot(ax, y, line, 100.0)
    if last:
        ax.set_xlabel("Share of a class (%)")


def _range(c: SizeClass) -> str:
    if not c.low_nm:
        return f"< {c.high_nm:g}"
    return f"{c.low_nm:g}–{c.high_nm:g}" if c.high_nm < math.inf else f"≥ {c.low_nm:g}"


def _rows(ax: Axes, labels: Sequence[str]) -> None:
    ax.set_ylim(len(labels) - 0.4, -0.6)
    for row, label in enumerate(labels):
        ax.text(-0.03, row, label, transform=ax.get_yaxis_transform(), ha="right", va="center_baseline", fontsize=6.5)


def _marks(group: Sequence[Score], names: Sequence[str]) -> list[tuple[float, Line]]:
    """Return what was measured and its height on the axes: a row a statistic, in it the videos one below the other."""
    found: list[tuple[float, Line]] = []
    for row, name in enumerate(names):
        lines = [line for s in group for line in s.lines if line.statistic == name and math.isfinite(line.measured.value)]
        step = min(0.22, 0.7 / max(len(lines), 1))
        found += [(row + (i - (len(lines) - 1) / 2) * step, line) for i, line in enumerate(lines)]
    return found


def _reach(lines: Sequence[Line]) -> float:
    """Return half the axis in %: it holds every interval that is judged, up to a limit; pale ones may run out of it."""
    counted = [line for line in lines if not line.why_not]
    ends = [abs(v / line.sample - 1) for line in counted for v in (line.measured.low, line.measured.high, line.present) if math.isfinite(v)]
    wanted = 110 * max(ends, default=0.1)
    return next((step for step in (5.0, 10.0, 15.0, 20.0, 30.0, 40.0) if step >= wanted), 100 * _LARGEST_ERROR)


def _dot(ax: Axes, y: float, line: Line, reach: float, zero: float = 0.0, unit: float = 1.0) -> None:
    """Draw an estimate with its interval and what was present, in % of `unit` from `zero`; an arrow where that is beyond `reach`."""

    def place(value: float) -> float:
        return 100 * (value - zero) / unit

    colour = _FAINT if line.why_not else _MEASURED
    value = place(line.measured.value)
    if math.isfinite(line.measured.low):
        ends = [place(v) for v in (line.measured.low, line.measured.high)]
        ax.plot(ends, [y, y], color=colour, linewidth=1.0, solid_capstyle="butt", zorder=3)
    if abs(value) > reach:
        arrow = "<" if value < 0 else ">"
        ax.plot([math.copysign(0.98 * reach, value)], [y], marker=arrow, markersize=3.5, color=colour, zorder=5)
    else:
        ax.plot([value], [y], marker="o", markersize=3.2, markerfacecolor=colour, markeredgecolor="white", markeredgewidth=0.4, zorder=5)
    if math.isfinite(line.present) and not line.why_not:
        ax.plot([place(line.present)], [y], marker="|", markersize=6.0, markeredgewidth=0.9, color=_INK, zorder=4)


# --- key ---


def _key(figure: Figure, height: float) -> None:
    """Explain the marks above the first row, in mm on axes that span the figure."""
    ax: Any = figure.add_axes((0, 0, 1, 1), zorder=-1)
    ax.set(xlim=(0, _WIDTH_MM), ylim=(0, height))
    ax.axis("off")
    y = height - 4.0
    say = {"va": "center_baseline", "fontsize": 6.5, "color": _QUIET}
    x = _CURVES_MM[0]
    ax.fill_between([x, x + 5], y - 1.0, y + 1.0, color=_TRUE, alpha=0.25, linewidth=0)
    ax.plot([x + 7, x + 7], [y - 1.3, y + 1.3], color=_TRUE, linewidth=2.2, alpha=0.6, solid_capstyle="butt")
    ax.text(x + 9, y, "sample (stem: exactly one size)", **say)
    ax.plot([x + 50, x + 55], [y, y], color=_MEASURED, linewidth=1.0)
    ax.text(x + 56.5, y, "measured", **say)
    x = _ERRORS_MM[0] - 8.0
    for start, colour, label in ((x, _MEASURED, "estimate, 95 % interval"), (x + 62, _FAINT, "not judged")):
        ax.plot([start, start + 5], [y, y], color=colour, linewidth=1.0, solid_capstyle="butt")
        ax.plot([start + 2.5], [y], marker="o", markersize=3.2, markerfacecolor=colour, markeredgecolor="white", markeredgewidth=0.4)
        ax.text(start + 6.5, y, label, **say)
    ax.plot([x + 37], [y], marker="|", markersize=6.0, markeredgewidth=0.9, color=_INK)
    ax.text(x + 38.5, y, "particles present", **say)
