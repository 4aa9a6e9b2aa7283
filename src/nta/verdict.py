"""Spots, Flow, Light, Noise, Still -> Findings: each figure of a first look, whether it is good, and what it means.

The limits follow from what a flaw does to the sizes, and are the same for every video; docs/formats.md has their table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nta.background import FEWEST_FRAMES
from nta.excerpt import Excerpt
from nta.flags import Flag
from nta.flow import Flow
from nta.footage import Light, Noise, Still
from nta.spots import Spots

GOOD, LOOK, BAD, UNKNOWN = "good", "look", "bad", "unknown"

FEWEST_SPOTS = 20  # from fewer no median is taken
TRACK_FRAMES = 10.0  # typical length of a track in instruments of the field
TRACKS = (500.0, 50.0)  # 500 tracks are of about 100 particles; from 50 not even a mean comes out to 10 %
WRONG_LINKS = (0.01, 0.05)  # one in 10, one in 3 tracks of ten frames then is of two particles
ABOVE_THRESHOLD = (2.0, 1.0)  # in the noise of a signal-to-noise, 1: a spot is missed in 2 %, 16 % of the frames
SATURATED = (0.05, 0.20)  # half of the brightest tenth, the brightest fifth
AT_ZERO = (0.023, 0.159)  # the background is 2, 1 standard deviations of its noise above 0
BLURRED_UM = (0.81, 1.62)  # 2 and 4 times 0.21 wavelength / NA (Zhang et al. 2007) at 0.58 um and 0.3: a wide NTA objective
BLURRED_PX = (3.4, 6.7)  # 4 and 8 times the spot of an image sampled at the Nyquist distance, 0.84 px
UNDERSAMPLED_PX = 0.6  # pixels hide where in them a narrower spot is
WIDE = (0.5, 1.0)  # most spots take twice the area of the sharpest: the sharpest are the exception
SEEN = 2.5  # standard errors along an axis that a speed exceeds by chance in 4 % of the videos at rest
FRAMES_IN_FIELD = 20.0  # a particle that crosses the field in fewer leaves tracks of 10
ERROR = (0.025, 0.10)  # of a size: what 1 C costs, and what the field accepts (Kestens et al. 2017)
FLICKER = (0.03, 0.10)  # the brightness of a spot of signal-to-noise 10 is known to 10 %; a third of it adds nothing to that
ROUNDED_GREY = (0.5, 0.29)  # rounding, 0.29, then is a third, is all of the noise
LEVELS = (2.0, 4.0)  # photon noise then differs by 1.4, 2 over the field; the smallest size that is seen, by 6 %, 12 %
COVERED = (0.01, 0.10)  # of the field


@dataclass(frozen=True)
class Finding:
    """One figure of a first look.

    Attributes
    ----------
    name : its key in JSON, which names the unit
    value : None where it cannot be told
    verdict : ``good``, ``look``, ``bad`` or ``unknown``
    shown : the value in words, with its unit
    meaning : what it means for the sizes, in one line
    """

    name: str
    value: float | None
    verdict: str
    shown: str
    meaning: str


def judge(
    spots: Spots,
    flow: Flow | None,
    light: Light,
    noise: Noise,
    still: Still | None,
    excerpt: Excerpt,
    scale: tuple[float | None, float | None],
) -> tuple[Finding, ...]:
    """Return all findings; `scale` is the pixel size in um and the frame rate in 1/s, None where unknown."""
    enough = len(spots) >= FEWEST_SPOTS
    found = [_number(spots, excerpt)]
    if enough:
        found += [_density(spots, flow), _brightness(spots), _saturation(spots, excerpt), *_focus(spots, scale[0])]
    else:
        names = ("wrong_link_share", "snr", "saturated_share", "spot_width_px", "wide_share")
        found += [_untold(name, "too few particles to tell") for name in names]
    return (*found, *_motion(flow, excerpt, scale), *_frames(light), *_camera(noise, excerpt), *_field(still, noise, excerpt))


def _verdict(value: float, limits: tuple[float, float]) -> str:
    """Compare with (good up to, bad beyond); limits that fall are (good down to, bad below)."""
    good, bad = limits
    if good > bad:
        value, good, bad = -value, -good, -bad
    return GOOD if value <= good else BAD if value > bad else LOOK


def _untold(name: str, why: str) -> Finding:
    return Finding(name, None, UNKNOWN, "-", why)


def _percent(share: float) -> str:
    return "0 %" if share == 0 else f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _number(spots: Spots, excerpt: Excerpt) -> Finding:
    per_frame = len(spots) / spots.n_frames
    tracks = per_frame * excerpt.whole.n_frames / TRACK_FRAMES
    verdict = _verdict(tracks, TRACKS)
    meaning = {
        GOOD: "enough for a distribution",
        LOOK: "few: film longer, or dilute less",
        BAD: "too few: gain, exposure, dilution?",
    }[verdict]
    if len(spots) == 0:
        meaning = "none found; are they dark? (--polarity)"
    return Finding("spots_per_frame", per_frame, verdict, f"{per_frame:.3g} a frame", meaning)


def _density(spots: Spots, flow: Flow | None) -> Finding:
    if flow is None:
        return _untold("wrong_link_share", "too few are seen in two frames running")
    density = len(spots) / spots.n_frames / spots.area_px
    # a stranger is nearer than the particle itself: 1 - <exp(-density pi r^2)> over r of a two-dimensional Gaussian step
    met = 2 * np.pi * density * flow.step_px**2
    share = float(met / (1 + met))
    apart = 0.5 / np.sqrt(density)
    verdict = _verdict(share, WRONG_LINKS)
    meaning = f"step {flow.step_px:.2g}, next at {apart:.2g} px" + ("" if verdict == GOOD else ": dilute or film faster")
    return Finding("wrong_link_share", share, verdict, f"{_percent(share)} at risk", meaning)


def _brightness(spots: Spots) -> Finding:
    snr, threshold = float(np.median(spots.snr)), float(spots.chosen["threshold_snr"].value)
    verdict = _verdict(snr - threshold, ABOVE_THRESHOLD)
    meaning = {
        GOOD: f"well above the threshold, {threshold:.2g}",
        LOOK: f"near the threshold, {threshold:.2g}: more light or gain",
        BAD: f"at the threshold, {threshold:.2g}: more light or gain",
    }[verdict]
    return Finding("snr", snr, verdict, f"{snr:.3g}", meaning)


def _saturation(spots: Spots, excerpt: Excerpt) -> Finding:
    if excerpt.ceiling is None:
        return _untold("saturated_share", "pixels of this type have no ceiling that is known")
    share = float(np.mean(spots.flags & np.uint32(Flag.SATURATED) > 0))
    verdict = _verdict(share, SATURATED)
    meaning = {
        GOOD: "brightness is what it seems",
        LOOK: "the brightest are cut off: less gain",
        BAD: "many are cut off: less gain or exposure",
    }[verdict]
    return Finding("saturated_share", share, verdict, f"{_percent(share)} of the spots", meaning)


def _focus(spots: Spots, pixel_um: float | None) -> Iterator[Finding]:
    width = float(np.median(spots.width_px))
    shown = f"{width:.2f} px" if pixel_um is None else f"{width:.2f} px, {width * pixel_um:.2g} um"
    verdict = _verdict(width, BLURRED_PX) if pixel_um is None else _verdict(width * pixel_um, BLURRED_UM)
    meaning = {
        GOOD: "as small as a lens makes it",
        LOOK: "out of focus, or large particles",
        BAD: "far out of focus, or clumps",
    }[verdict]
    if verdict == GOOD and width < UNDERSAMPLED_PX:
        verdict, meaning = LOOK, "narrower than a pixel: bin less, or magnify"
    yield Finding("spot_width_px", width, verdict, shown, meaning)
    sure = spots.width_px[spots.snr >= 10]  # the width of a fainter spot is mostly noise
    if len(sure) < FEWEST_SPOTS:
        yield _untold("wide_share", "too few bright particles to tell")
        return
    share = float(np.mean(sure > np.sqrt(2) * np.quantile(sure, 0.1)))
    verdict = _verdict(share, WIDE)
    meaning = "most are as sharp as the sharpest" if verdict == GOOD else "most are less sharp: focus, or a thinner sheet"
    yield Finding("wide_share", share, verdict, f"{_percent(share)} are blurred", meaning)


def _motion(flow: Flow | None, excerpt: Excerpt, scale: tuple[float | None, float | None]) -> Iterator[Finding]:
    if flow is None:
        why = "too few are seen in two frames running"
        yield from (_untold(name, why) for name in ("flow_px", "shake_px"))
        return
    pixel_um, fps = scale
    speed = float(np.hypot(flow.x_px, flow.y_px))
    seen = speed > SEEN * flow.sd_px
    limit = speed if seen else SEEN * flow.sd_px
    shown = f"{limit:.2f} px a frame" if seen else f"none above {limit:.2f} px"
    if pixel_um is not None and fps is not None:
        shown += f", {limit * pixel_um * fps:.2g} um/s"
    crossing = FRAMES_IN_FIELD * speed > min(excerpt.height, excerpt.width)
    verdict = BAD if seen and crossing else LOOK if seen and speed > flow.step_px else GOOD
    meaning = {
        GOOD: "less than a step of diffusion",
        LOOK: "more than a step of diffusion: slow the pump",
        BAD: f"across the field in {FRAMES_IN_FIELD:.0f} frames: slow the pump",
    }[verdict]
    yield Finding("flow_px", speed, verdict, shown, meaning)
    if not np.isfinite(flow.shake_least_px):
        yield _untold("shake_px", "too few pairs of frames to tell")
        return
    verdict = _verdict((flow.shake_px / flow.step_px) ** 2, ERROR)
    shown = f"{flow.shake_px:.2g} px" if flow.shake_px else f"none above {flow.shake_least_px:.2g} px"
    share = _percent(flow.shake_px**2 / flow.step_px**2)
    meaning = f"{share} of what is taken for diffusion" if flow.shake_px else "frames do not jump"
    yield Finding("shake_px", flow.shake_px, verdict, shown, meaning + ("" if verdict == GOOD else ": damp it"))


def _frames(light: Light) -> Iterator[Finding]:
    if len(light.grey) < 4 or light.grey.mean() <= 0:
        yield _untold("flicker", "too few frames to tell" if len(light.grey) < 4 else "the background is at 0")
    else:
        flicker, change = light.flicker()
        verdict = _verdict(flicker, FLICKER)
        meaning = {
            GOOD: "the light is steady",
            LOOK: "links go by brightness too: check the lamp",
            BAD: "particles come and go with it: check the lamp",
        }[verdict]
        if verdict == GOOD and abs(change) > FLICKER[0]:
            meaning = f"{'rises' if change > 0 else 'falls'} by {_percent(abs(change))} over the video"
        yield Finding("flicker", flicker, verdict, _percent(flicker), meaning)
    if light.followers == 0:
        yield _untold("repeated_frames", "no two consecutive frames were looked at")
        return
    share = light.repeated / light.followers
    verdict = GOOD if light.repeated == 0 else LOOK if share <= ERROR[0] else BAD
    meaning = "every frame is new" if verdict == GOOD else "times are wrong: export it as it was taken"
    yield Finding("repeated_frames", light.repeated, verdict, f"{light.repeated} of {light.followers}", meaning)


def _camera(noise: Noise, excerpt: Excerpt) -> Iterator[Finding]:
    integer = np.issubdtype(excerpt.whole.dtype, np.integer)
    verdict = _verdict(noise.sd_grey, ROUNDED_GREY) if integer else GOOD
    meaning = {
        GOOD: "as a camera's",
        LOOK: "hidden by rounding: more gain, no compression",
        BAD: "lost to rounding: more gain, no compression",
    }[verdict]
    if verdict == GOOD and noise.slope is not None and noise.slope_sd is not None and noise.slope > 5 * noise.slope_sd:
        meaning = f"of photons: {1 / noise.slope:.2g} electrons a grey level"
    yield Finding("noise_grey", noise.sd_grey, verdict, f"{noise.sd_grey:.2g} grey levels", meaning)
    if excerpt.ceiling is None:
        yield _untold("zero_share", "pixels of this type have no floor that is known")
        return
    share = float(np.mean([np.mean(excerpt.read(i) <= 0) for i in range(0, excerpt.n_frames, 4)]))
    verdict = _verdict(share, AT_ZERO)
    meaning = "the background is above 0" if verdict == GOOD else "the faint are cut off: more offset"
    yield Finding("zero_share", share, verdict, f"{_percent(share)} of the pixels", meaning)


def _field(still: Still | None, noise: Noise, excerpt: Excerpt) -> Iterator[Finding]:
    if still is None:
        why = f"too few frames to tell; at least {FEWEST_FRAMES} are needed"
        yield from (_untold(name, why) for name in ("background_ratio", "still_things"))
        return
    if still.low <= 0:
        yield _untold("background_ratio", "the background is at 0")
    else:
        ratio = still.high / still.low
        verdict = _verdict(ratio, LEVELS) if still.high - still.low > noise.sd_grey else GOOD
        meaning = "even enough" if verdict == GOOD else "small ones are seen in the dark part only"
        yield Finding("background_ratio", ratio, verdict, f"{still.low:.3g} to {still.high:.3g} grey levels", meaning)
    verdict = _verdict(still.covered, COVERED)
    number = len(still.hot_px) + len(still.things)
    shown = f"{len(still.things)}, and {len(still.hot_px)} hot pixels"
    meaning = f"{_percent(still.covered)} of the field" + ("" if verdict == GOOD else ": clean the cell")
    yield Finding("still_things", number, verdict, shown, meaning)
