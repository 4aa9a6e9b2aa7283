"""Name and amount of a medium, temperature -> its viscosity, within the range for which that is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nta import viscosity
from nta.errors import UsageError

PBS_NACL_MOL_L = 0.137


@dataclass(frozen=True)
class Medium:
    """A liquid whose viscosity is published.

    Attributes
    ----------
    name : as ``--medium`` takes it
    amount : what the number behind the name is, with its unit; empty where there is none
    amounts : the least and the largest amount; both 0 where there is none
    range_c : lowest and highest temperature, C
    accuracy : relative, near room temperature, as the source states it or as other published values bear it out; read as 95 %
    source : of the viscosity
    formula : (temperature in C, amount) -> mPa s, unchecked
    """

    name: str
    amount: str
    amounts: tuple[float, float]
    range_c: tuple[float, float]
    accuracy: float
    source: str
    formula: Callable[[float, float], float]


MEDIA = {
    m.name: m
    for m in (
        Medium("water", "", (0, 0), (-10, 100), 0.0017, "Huber et al. 2009", lambda t, _: viscosity.water_mpas(t)),
        Medium("saline", "mol/L of NaCl", (0, 5), (0, 100), 0.005, "Kestin et al. 1981, below 20 C Mao & Duan 2009", viscosity.saline_mpas),
        Medium("pbs", "", (0, 0), (0, 100), 0.005, "saline of 0.137 mol/L", lambda t, _: viscosity.saline_mpas(t, PBS_NACL_MOL_L)),
        Medium("d2o", "", (0, 0), (4, 100), 0.01, "IAPWS R17-20", lambda t, _: viscosity.heavy_water_mpas(t)),
        Medium("glycerol", "mass fraction of glycerol", (0, 1), (0, 100), 0.035, "Cheng 2008", viscosity.glycerol_mpas),
        Medium("sucrose", "mass fraction of sucrose", (0, 0.48), (0, 60), 0.01, "Barber 1966", viscosity.sucrose_mpas),
        Medium("ethanol", "mass fraction of ethanol", (0, 0.5), (5, 50), 0.025, "Bingham & Jackson 1917", viscosity.ethanol_mpas),
    )
}
"""Every medium by its name."""

_OTHERWISE = "give --viscosity-mpas"


def parse_medium(text: str) -> tuple[Medium, float]:
    """Return the medium that ``NAME`` or ``NAME:AMOUNT`` names, and its amount; 0 where it takes none.

    Raises
    ------
    UsageError
        For a name that is not known, an amount that is missing, no number, out of range, or given where none belongs.
    """
    name, colon, given = (part.strip() for part in text.partition(":"))
    medium = MEDIA.get(name.lower())
    if medium is None:
        known = ", ".join(f"{m.name}:AMOUNT" if m.amount else m.name for m in MEDIA.values())
        raise UsageError(f"--medium: {name!r} is not known; known: {known}; for any other {_OTHERWISE}")
    if not medium.amount:
        if colon:
            raise UsageError(f"--medium: {text!r}: {medium.name} takes no amount; give {medium.name}; for any other {_OTHERWISE}")
        return medium, 0.0
    low, high = medium.amounts
    allowed = f"{medium.name}:AMOUNT, the {medium.amount}, {low:g} to {high:g}; for any other {_OTHERWISE}"
    if not given:
        raise UsageError(f"--medium: {text!r} lacks its amount; give {allowed}")
    try:
        amount = float(given)
    except ValueError:
        comma = " (decimals take a point)" if "," in given else ""
        raise UsageError(f"--medium: {text!r}: {given!r} is not a number{comma}; give {allowed}") from None
    if not low <= amount <= high:
        raise UsageError(f"--medium: {text!r}: {given} is outside the range of {allowed}")
    return medium, amount


def viscosity_sd(medium: str) -> float:
    """Return the relative standard uncertainty of the viscosity of `medium`: that of its formula, not of its composition."""
    return parse_medium(medium)[0].accuracy / 2


def water_viscosity_mpas(temperature_c: float) -> float:
    """Return the viscosity of water at 0.1 MPa in mPa s (Huber et al. 2009).

    Raises
    ------
    UsageError
        Outside -10 to 100 C.
    """
    return viscosity_mpas("water", temperature_c)


def viscosity_mpas(medium: str, temperature_c: float) -> float:
    """Return the viscosity in mPa s of `medium` (``NAME`` or ``NAME:AMOUNT``) at `temperature_c`.

    Raises
    ------
    UsageError
        For a medium that is not known, and for an amount or a temperature outside the range published.
    """
    found, amount = parse_medium(medium)
    low, high = found.range_c
    if not low <= temperature_c <= high:
        shown = f"{found.name}:{amount:g}" if found.amount else found.name
        raise UsageError(
            f"temperature {temperature_c:g} C is outside {low:g} to {high:g} C, where the viscosity of {shown} is known; {_OTHERWISE}"
        )
    return found.formula(temperature_c, amount)


def viscosity_slope(medium: str, temperature_c: float) -> float:
    """Return ``d ln(eta) / dT`` in 1/K by a central difference of 0.1 K."""
    viscosity_mpas(medium, temperature_c)  # refuses what it does not know; the difference may reach beyond the range's end
    found, amount = parse_medium(medium)
    return (found.formula(temperature_c + 0.05, amount) / found.formula(temperature_c - 0.05, amount) - 1.0) / 0.1
