"""Why a spot or a track was refused, or should be read with care: one registry of bits.

Rows are flagged, never dropped; ``names`` turns a bit mask into the words that the CSV files carry.
"""

from __future__ import annotations

from enum import IntFlag


class Flag(IntFlag):
    """Bits of the `flags` columns. A track with a bit of `REFUSED` is not sized; the other bits only inform."""

    UNLINKED = 1
    TOO_SHORT = 2
    NO_MOTION_RESOLVED = 4
    SATURATED = 8
    IMMOBILE = 16
    LINKED_NOISE = 32
    POOR_FIT = 64
    DIRECTED = 128
    CONFINED = 256


REFUSED = Flag.UNLINKED | Flag.TOO_SHORT

MEANING = {
    Flag.UNLINKED: "a single spot that no track claimed",
    Flag.TOO_SHORT: "fewer spots than --min-frames",
    Flag.NO_MOTION_RESOLVED: "the likelihood peaks at no motion; no diameter is given, but the track counts in every distribution",
    Flag.SATURATED: "at least one pixel of the spot is at the camera's ceiling",
    Flag.IMMOBILE: "more likely stuck than diffusing; left out of the size distribution",
    Flag.LINKED_NOISE: "more likely a chain of unrelated detections than one particle; left out of the size distribution",
    Flag.DIRECTED: "more likely to move with a velocity of its own than to diffuse freely; left out of the size distribution",
    Flag.CONFINED: "more likely held in a trap than to diffuse freely; left out of the size distribution",
    Flag.POOR_FIT: "steps that free diffusion makes in less than one track of a thousand: two particles, a trap, a jump; it still counts",
}


def names(mask: int) -> str:
    """Return the names of the bits in `mask`, in lower case, joined by ``|``; empty for none."""
    return "|".join(flag.name.lower() for flag in Flag if flag & mask and flag.name)
