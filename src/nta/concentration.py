"""Distribution x detection volume x dilution -> Concentration, particles per mL."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nta.distribution import Distribution, Interval
from nta.presence import Presence
from nta.settings import Settings
from nta.spots import Spots
from nta.video import Calibration


@dataclass(frozen=True)
class Concentration:
    """Particles per mL of the undiluted sample, or ``None`` and why not."""

    per_ml: Interval | None
    why_not: str = ""


WIDEST = 1.5  # ratio of the ends of a fitted depth's interval, above which it tells no concentration


def find_concentration(
    distribution: Distribution, presence: Presence | None, spots: Spots, calibration: Calibration, settings: Settings
) -> Concentration:
    """Divide the particles in view by the volume they are seen in: field area times depth, times the dilution.

    The interval holds the luck of which particles came (bootstrap over particles) and the pixel size. Of a depth that is given it holds no
    error: nobody but who measured it knows that, and p % in the depth is p % in the concentration. It is that in which particles are seen,
    which brighter ones are in deeper, not that of the light sheet; particles of known concentration tell it. With ``fitted``, each size
    has its own depth, and the interval of the light's width is in that of the concentration.
    """
    depth_um = settings.concentration.depth_um
    if depth_um is None:
        return Concentration(None, "the depth of the detection volume is not known; give --depth-um")
    if distribution.empty or presence is None:
        # too few frames, or no particle: how many there are is not known, and not zero
        return Concentration(None, "no particle was sized")
    pixel, number, low_depth, high_depth = calibration.pixel_size_um, distribution.number_in_view, 1.0, 1.0
    if isinstance(depth_um, str):
        low_depth, high_depth = presence.width_low_um / presence.width_um, presence.width_high_um / presence.width_um
        if high_depth / low_depth > WIDEST:
            ends = f"{presence.width_low_um:.1f} to {presence.width_high_um:.1f} um"
            text = f"the tracks tell the depth of the light too poorly, a standard deviation of {ends}; film longer, or give --depth-um"
            return Concentration(None, text)
        depth_um, number = 1.0, distribution.number_per_um
    factor = settings.concentration.dilution / (spots.area_px * pixel.value**2 * depth_um * 1e-12)
    low_stat, high_stat, value = number.low_stat * factor, number.high_stat * factor, number.value * factor
    # the area carries twice the pixel size's relative uncertainty; deeper light, fewer particles in as many tracks
    area = 1.96 * 2 * (pixel.sd or 0.0) / pixel.value * value
    down = math.hypot(value - low_stat, area, value * (1 - 1 / high_depth))
    up = math.hypot(high_stat - value, area, value * (1 / low_depth - 1))
    return Concentration(Interval(value, max(value - down, 0.0), value + up, low_stat, high_stat))
