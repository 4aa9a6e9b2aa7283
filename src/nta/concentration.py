"""Distribution x detection volume x dilution -> Concentration, particles per mL."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nta.distribution import Distribution, Interval
from nta.settings import Settings
from nta.spots import Spots
from nta.video import Calibration


@dataclass(frozen=True)
class Concentration:
    """Particles per mL of the undiluted sample, or ``None`` and why not."""

    per_ml: Interval | None
    why_not: str = ""


def find_concentration(distribution: Distribution, spots: Spots, calibration: Calibration, settings: Settings) -> Concentration:
    """Divide the particles in view by the volume they are seen in: field area times the depth given, times the dilution.

    The interval holds the luck of which particles came (bootstrap over particles) and the pixel size. It does not hold the depth: nobody
    but who measured it knows its error, and p % in the depth is p % in the concentration. The depth is that in which particles are seen,
    which brighter ones are in deeper, not that of the light sheet; particles of known concentration tell it.
    """
    depth_um = settings.concentration.depth_um
    if depth_um is None:
        return Concentration(None, "the depth of the detection volume is not known; give --depth-um")
    if distribution.empty:
        # too few frames, or no particle: how many there are is not known, and not zero
        return Concentration(None, "no particle was sized")
    pixel = calibration.pixel_size_um
    volume_ml = spots.area_px * pixel.value**2 * depth_um * 1e-12
    factor = settings.concentration.dilution / volume_ml
    n = distribution.number_in_view
    low_stat, high_stat, value = n.low_stat * factor, n.high_stat * factor, n.value * factor
    # the area carries twice the pixel size's relative uncertainty
    area_sd = 2 * (pixel.sd or 0.0) / pixel.value
    down, up = (math.hypot(value - low_stat, 1.96 * area_sd * value), math.hypot(high_stat - value, 1.96 * area_sd * value))
    return Concentration(Interval(value, max(value - down, 0.0), value + up, low_stat, high_stat))
