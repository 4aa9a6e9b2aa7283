"""Inspection -> picture: the first frame with the particles found in it, a closer look, and what they and the light are like."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nta import __version__
from nta.errors import NtaError, UsageError
from nta.figure import DPI, style
from nta.inspect import Inspection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SOFTWARE = "nta "
"""Start of the PNG's Software tag, by which a preview is known as ours."""

_MM = 1 / 25.4
_WIDTH_MM, _SIDE_MM, _GAP_MM = 180.0, 3.0, 4.0
_HEAD_MM, _KEY_MM, _CHART_MM, _FOOT_MM, _LABEL_MM = 8.0, 7.0, 24.0, 10.0, 10.0
_TALLEST_MM, _LOWEST_MM = 110.0, 45.0  # of the picture of a frame
_RING, _STILL, _TEXT, _INK, _QUIET = "#56B4E9", "#E69F00", "#D55E00", "#222222", "#595959"  # of Okabe and Ito, greys
_RING_WIDTHS = 3.5  # radius of a ring in spot widths: around the spot, not on it
_STRONG = 20.0  # in the noise of a pixel; what is brighter is shown white, or the faint would not be seen beside it
_ZOOM_PX = (64, 160)  # side of the closer look


def draw(inspection: Inspection) -> Figure:
    """Draw the preview of `inspection`.

    Returns
    -------
    matplotlib.figure.Figure
        180 mm wide, on its own canvas: pyplot and its state are not touched.
    """
    with style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        room = _WIDTH_MM - 2 * _SIDE_MM - _GAP_MM
        rows, columns = inspection.frame.shape
        # the closer look is a square as tall as the frame; where the frame is so wide or tall that this leaves no room, it is fitted
        tall = min(max(room / (columns / rows + 1), _LOWEST_MM), _TALLEST_MM)
        wide = min(tall * columns / rows, room - tall)
        height = _HEAD_MM + tall + _KEY_MM + _CHART_MM + _FOOT_MM
        figure = Figure(figsize=(_WIDTH_MM * _MM, height * _MM), dpi=DPI)
        FigureCanvasAgg(figure)

        def place(left: float, top: float, width: float, tall: float) -> Axes:
            return figure.add_axes((left / _WIDTH_MM, 1 - (top + tall) / height, width / _WIDTH_MM, tall / height))

        def write(left: float, top: float, text: str, **how: Any) -> None:
            figure.text(left / _WIDTH_MM, 1 - top / height, text, va="center", parse_math=False, **how)

        write(_SIDE_MM, 4, " ".join(inspection.name.split())[:90], fontweight="bold")
        size = f"{inspection.width} x {inspection.height} px, {inspection.n_frames} frames"
        write(_WIDTH_MM - _SIDE_MM, 4, size, ha="right", color=_QUIET)
        _frame(place(_SIDE_MM, _HEAD_MM, wide, tall), inspection)
        _closer(place(_SIDE_MM + wide + _GAP_MM, _HEAD_MM, tall, tall), inspection)
        _key(place(_SIDE_MM, _HEAD_MM + tall, _WIDTH_MM - 2 * _SIDE_MM, _KEY_MM), inspection)
        third = (_WIDTH_MM - 2 * _SIDE_MM - 3 * _LABEL_MM - 2 * _GAP_MM) / 3
        for number, chart in enumerate((_snr_chart, _width_chart, _light_chart)):
            left = _SIDE_MM + _LABEL_MM + number * (third + _LABEL_MM + _GAP_MM)
            ax = place(left, _HEAD_MM + tall + _KEY_MM, third, _CHART_MM)
            ax.spines[["top", "right"]].set_visible(False)
            chart(ax, inspection)
        return figure


def render(inspection: Inspection) -> bytes:
    """Return the preview as a PNG of 300 dpi; the same bytes on every run."""
    figure, buffer = draw(inspection), io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": f"{SOFTWARE}{__version__}"})
    return buffer.getvalue()


def check_place(path: Path) -> None:
    """Refuse, before any work, a place that holds something else than a preview; raises `UsageError`."""
    if not path.exists():
        return
    if path.is_dir() or not _is_ours(path):
        raise UsageError(f"{path} was not written by nta and is left alone; give another -o")


def write(inspection: Inspection, path: Path) -> None:
    """Write the preview to `path`, in one step; raises `NtaError` when it cannot be."""
    content = render(inspection)
    half = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content)
        half.replace(path)
    except OSError as error:
        raise NtaError(f"{path}: cannot be written ({error.strerror or error}); give another -o") from error


def _is_ours(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return str(image.info.get("Software", "")).startswith(SOFTWARE)
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for a file that is no image, or a broken one
        return False


# --- pictures ---


def _picture(ax: Axes, image: np.ndarray, low: float, high: float) -> None:
    ax.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    ax.set(xticks=[], yticks=[], xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    ax.spines[:].set_visible(False)


def _rings(ax: Axes, x: np.ndarray, y: np.ndarray, radius_px: float, width: float) -> None:
    from matplotlib.collections import EllipseCollection

    size = np.full(len(x), 2 * radius_px)
    rings = EllipseCollection(
        size, size, np.zeros(len(x)), units="xy", offsets=np.column_stack([x, y]), offset_transform=ax.transData, facecolors="none"
    )
    rings.set(edgecolor=_RING, linewidth=width)
    ax.add_collection(rings)


def _frame(ax: Axes, inspection: Inspection) -> None:
    from matplotlib.patches import Rectangle

    typical, noise = float(np.median(inspection.frame)), _noise(inspection)
    low, high = (float(q) for q in np.quantile(inspection.frame, [0.005, 0.998]))
    _picture(ax, inspection.frame, max(low, typical - _STRONG * noise), min(high, typical + _STRONG * noise))
    x, y = _first_spots(inspection)
    _rings(ax, x, y, _RING_WIDTHS * _spot_width(inspection), 0.5)
    still = inspection.still
    if still is not None:
        ax.plot(
            still.hot_px[:, 1], still.hot_px[:, 0], "s", markersize=2.2, markerfacecolor="none", markeredgecolor=_STILL, markeredgewidth=0.4
        )
        for boxes, colour in ((still.things, _STILL), (still.texts, _TEXT)):
            for top, left, bottom, right in boxes.tolist():
                size = (right - left + 4, bottom - top + 4)
                ax.add_patch(Rectangle((left - 2.5, top - 2.5), *size, fill=False, edgecolor=colour, linewidth=0.5))
    left, top, side = _window(inspection)
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor="white", linewidth=0.7, linestyle=(0, (3, 2))))
    _scale_bar(ax, inspection, inspection.frame.shape[1])


def _closer(ax: Axes, inspection: Inspection) -> None:
    left, top, side = _window(inspection)
    part = inspection.cleaned[top : top + side, left : left + side]
    noise = _noise(inspection)
    x, y = _first_spots(inspection)
    inside = (x > left - 0.5) & (x < left + side - 0.5) & (y > top - 0.5) & (y < top + side - 0.5)
    bright = inspection.polarity == "bright"
    faint, strong = -2.5 * noise, float(np.clip(np.quantile(part if bright else -part, 0.998), 6 * noise, _STRONG * noise))
    _picture(ax, part, *((faint, strong) if bright else (-strong, -faint)))
    _rings(ax, x[inside] - left, y[inside] - top, _RING_WIDTHS * _spot_width(inspection), 0.8)
    _scale_bar(ax, inspection, side)


def _noise(inspection: Inspection) -> float:
    return 1.4826 * float(np.median(np.abs(inspection.cleaned)))


def _scale_bar(ax: Axes, inspection: Inspection, across_px: int) -> None:
    """Draw a bar of a round length, about a fifth of what is seen; in um where the pixel size is known."""
    import matplotlib.patheffects as effects

    pixel_um = inspection.value("pixel_size_um")
    unit, scale = ("px", 1.0) if pixel_um is None else ("\N{GREEK SMALL LETTER MU}m", pixel_um)
    wanted = 0.2 * across_px * scale
    decade = 10 ** math.floor(math.log10(wanted))
    length = decade * max(m for m in (1, 2, 5) if m * decade <= wanted)
    rows, columns = (float(abs(np.subtract(*limits))) for limits in (ax.get_ylim(), ax.get_xlim()))
    right, y = columns - 0.04 * rows, 0.95 * rows
    left = right - length / scale
    rim = [effects.withStroke(linewidth=2.6, foreground="black")]
    ax.plot([left, right], [y, y], color="white", linewidth=1.6, solid_capstyle="butt", path_effects=rim)
    rim = [effects.withStroke(linewidth=1.6, foreground="black")]
    ax.text((left + right) / 2, y - 0.02 * rows, f"{length:g} {unit}", color="white", ha="center", va="bottom", path_effects=rim)


def _window(inspection: Inspection) -> tuple[int, int, int]:
    """Return left, top and side of the square that holds most particles, of all placed on a grid of half its side."""
    rows, columns = inspection.frame.shape
    side = int(min(np.clip(min(rows, columns) // 3, *_ZOOM_PX), rows, columns))
    x, y = _first_spots(inspection)
    best, most = ((columns - side) // 2, (rows - side) // 2, side), 0
    for top in range(0, rows - side + 1, max(1, side // 2)):
        for left in range(0, columns - side + 1, max(1, side // 2)):
            count = int(np.sum((x >= left) & (x < left + side) & (y >= top) & (y < top + side)))
            if count > most:
                best, most = (left, top, side), count
    return best


def _first_spots(inspection: Inspection) -> tuple[np.ndarray, np.ndarray]:
    first = inspection.spots.frame == 0
    return inspection.spots.x_px[first], inspection.spots.y_px[first]


def _spot_width(inspection: Inspection) -> float:
    return float(inspection.spots.chosen["spot_width_px"].value)


# --- the key, and the charts ---


def _key(ax: Axes, inspection: Inspection) -> None:
    ax.set(xlim=(0, _WIDTH_MM - 2 * _SIDE_MM), ylim=(0, _KEY_MM))
    ax.axis("off")
    still = inspection.still
    number = len(_first_spots(inspection)[0])
    entries = [("o", _RING, f"{number} particle{'' if number == 1 else 's'} in this frame")]
    if still is not None and len(still.hot_px) + len(still.things):
        entries.append(("s", _STILL, f"{len(still.hot_px) + len(still.things)} that stand still"))
    if still is not None and len(still.texts):
        entries.append(("s", _TEXT, "text"))
    x, y = 1.2, _KEY_MM - 2.8
    for marker, colour, text in entries:
        ax.plot([x], [y], marker, markersize=4, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=0.9)
        label = ax.text(x + 2.2, y, text, va="center", color=_QUIET, fontsize=6.5)
        x += 7 + label.get_window_extent(ax.figure.canvas.get_renderer()).width / DPI / _MM  # type: ignore[attr-defined]
    right = _WIDTH_MM - 2 * _SIDE_MM
    ax.text(right, y, "closer, without background", ha="right", va="center", color=_QUIET, fontsize=6.5)


def _histogram(ax: Axes, values: np.ndarray, edges: np.ndarray) -> None:
    ax.hist(np.clip(values, edges[0], edges[-1]), edges.tolist(), color=_RING, linewidth=0)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylabel("Spots")
    if not len(values):
        ax.set_yticks([])
        ax.text(0.5, 0.5, "no particles found", transform=ax.transAxes, ha="center", va="center", color=_QUIET)


def _snr_chart(ax: Axes, inspection: Inspection) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    snr, threshold = inspection.spots.snr, float(inspection.spots.chosen["threshold_snr"].value)
    high = max(10 * threshold, float(np.quantile(snr, 0.995)) if len(snr) else 0.0)
    ax.set_xscale("log")
    _histogram(ax, snr, np.geomspace(threshold, high, 41))
    ax.set_xlim(0.85 * threshold, high)
    ax.axvline(threshold, color=_INK, linewidth=0.8, linestyle=(0, (3, 2)))
    ax.annotate(
        "threshold", (threshold, 1.0), (2, -2), xycoords=("data", "axes fraction"), textcoords="offset points", va="top", fontsize=6
    )
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("Signal-to-noise of a spot")


def _width_chart(ax: Axes, inspection: Inspection) -> None:
    width, pixel_um = inspection.spots.width_px, inspection.value("pixel_size_um")
    scale, unit = (1.0, "px") if pixel_um is None else (pixel_um, "\N{GREEK SMALL LETTER MU}m")
    middle = float(np.median(width)) if len(width) else _spot_width(inspection)
    _histogram(ax, width * scale, np.linspace(0, 2.5 * middle * scale, 41))
    ax.set_xlabel(f"Width of a spot ({unit}, Gaussian \N{GREEK SMALL LETTER SIGMA})")


def _light_chart(ax: Axes, inspection: Inspection) -> None:
    light, fps = inspection.light, inspection.value("fps")
    ax.plot(light.frame / (fps or 1.0), light.grey, color=_INK, linewidth=0.6)
    low, high = float(light.grey.min()), float(light.grey.max())
    # less than 2 % of ripple is not worth a look, and is not blown up to one
    half = max(high - low, 0.1 * abs(high), 0.5) * 0.6
    ax.set_ylim((low + high) / 2 - half, (low + high) / 2 + half)
    ax.set_xlabel("Time (s)" if fps else "Frame")
    ax.set_ylabel("Background (grey)")
