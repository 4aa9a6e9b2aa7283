"""Distribution x detection volume x dilution -> Concentration, particles per mL."""

from __future__ import annotations

from dataclasses import dataclass

from nta.distribution import Interval


@dataclass(frozen=True)
class Concentration:
    """Particles per mL of the undiluted sample, or ``None`` and why not."""

    per_ml: Interval | None
    why_not: str = ""
