from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import naive
import numpy as np
import pytest
from scipy import stats

from nta.background import find_background
from nta.chance import gaussian_threshold
from nta.kernels.fit import SATURATED, SNR, WIDTH, X, Y
from nta.light import find_width_px
from nta.look import Look, choose_look
from nta.matched import Light, MatchedFilter
from nta.settings import Settings

SHAPE = (128, 160)


def spots(
    n_frames: int, n_spots: int, peak: float, width: float = 1.5, *, seed: int = 1, longer: float = 0.0, apart: float = 14.0
) -> np.ndarray:
    """Return frames of nothing but spots, in new places and directions in each."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((n_frames, *SHAPE))
    reach = math.ceil(5 * width)
    for frame in frames:
        places: list[np.ndarray] = []
        while len(places) < n_spots:
            new = rng.uniform(reach + 2, [SHAPE[1] - reach - 3, SHAPE[0] - reach - 3])
            if all(math.dist(new, p) > apart for p in places):
                places.append(new)
        for x, y in places:
            left, top = round(x) - reach, round(y) - reach
            side = 2 * reach + 1
            frame[top : top + side, left : left + side] += peak * naive.gaussian(
                x - left, y - top, width, (side, side), longer=longer, along=rng.uniform(0, math.pi)
            )
    return frames


def noisy(light: np.ndarray, sd: float = 2.0, seed: int = 0) -> np.ndarray:
    return (light + sd * np.random.default_rng(seed).normal(size=light.shape)).astype(np.float32)


def photons(light: np.ndarray, electrons_per_grey: float, seed: int = 0) -> np.ndarray:
    """Return light seen by a camera without noise of its own."""
    counts = np.random.default_rng(seed).poisson(light * electrons_per_grey)
    return np.clip(np.rint(counts / electrons_per_grey), 0, 255).astype(np.uint8)


def look_at(frames: np.ndarray, ceiling: float | None = None, **options: Any) -> Look:
    video: Any = naive.ArrayVideo(frames, ceiling)
    return choose_look(video, find_background(video), Settings().with_options(**options))


@pytest.mark.parametrize("width", [1.0, 1.5, 2.2, 3.0])
@pytest.mark.parametrize("peak", [60.0, -60.0])
def test_width_polarity_and_noise_are_those_of_the_film(width: float, peak: float) -> None:
    look = look_at(noisy(100 + spots(50, 4 if width > 2 else 8, peak, width, apart=8 * width)))
    assert look.matched.width_px == pytest.approx(width, rel=0.05)
    assert look.matched.sign == np.sign(peak)
    # frames tell a tile's noise to some per cent; the still image has noise of its own, and what spots left in it, that wide filters see
    assert np.all(look.spread / (2 * look.matched.noise_gain) > 0.93)
    assert np.all(look.spread / (2 * look.matched.noise_gain) < (1.2 if width < 3 else 1.5))
    assert np.median(look.noise) == pytest.approx(2 * look.matched.noise_gain, rel=0.1 if width < 3 else 0.35)
    assert look.noise.shape == look.matched.grid
    assert look.ceiling == math.inf


def test_the_width_of_dim_spots_is_told_by_many_of_them_and_with_the_noise_of_their_light() -> None:
    # three times the noise high, of few photons: the width of one is known to a sixth
    films = [photons(12 + spots(60, 14, 15.0, seed=seed), 0.5, seed) for seed in range(1, 5)]
    widths = [look_at(frames).matched.width_px for frames in films]
    assert np.mean(widths) == pytest.approx(1.5, rel=0.02)
    assert np.std(widths) < 0.03


def test_an_empty_film_is_looked_at_for_bright_spots_of_one_and_a_half_px() -> None:
    for frames in (np.full((30, *SHAPE), 9, np.uint8), noisy(np.full((30, *SHAPE), 50.0))):
        look = look_at(frames)
        assert (look.matched.sign, look.matched.width_px) == (1, 1.5)
    flat = look_at(np.full((30, *SHAPE), 9, np.uint8))
    # what rounding makes of a flat frame is the least noise there can be
    assert flat.spread == pytest.approx(np.full(flat.matched.tiles, 0.29 * flat.matched.noise_gain))
    assert flat.threshold == pytest.approx(gaussian_threshold(0.1, flat.matched.area_px, 1.5), rel=0.2)
    assert look_at(np.full((30, *SHAPE), 9, np.uint8), polarity="dark").matched.sign == -1


def test_polarity_that_is_given_is_not_measured() -> None:
    frames = noisy(100 + spots(30, 8, 60.0))
    assert look_at(frames, polarity="dark").matched.sign == -1
    assert look_at(frames, polarity="bright").matched.sign == 1


def test_hot_pixels_that_flicker_do_not_decide_the_width() -> None:
    rng = np.random.default_rng(3)
    frames = noisy(40 + spots(40, 8, 25.0, 2.0))
    rows, columns = rng.integers(10, 118, 25), rng.integers(10, 150, 25)
    frames[:, rows, columns] += 40 * rng.normal(size=(40, 25)).astype(np.float32)
    look = look_at(frames)
    assert look.matched.width_px == pytest.approx(2.0, rel=0.12)
    assert look.matched.sign == 1


def test_noise_is_told_higher_at_noisy_pixels_only() -> None:
    rng = np.random.default_rng(4)
    frames = noisy(40 + spots(60, 6, 60.0))
    for y, x in ((50, 60), (91, 121)):
        frames[:, y, x] += (50 + 12 * rng.normal(size=60)).astype(np.float32)
    look = look_at(frames)
    relative = look.noise / look.matched.noise_to_grid(look.spread)
    step, taps = look.matched.step, naive.gaussian(10, 10, look.matched.width_px, (21, 21))
    share = (taps / taps.sum()) ** 2
    for y, x in ((50, 60), (91, 121)):
        at = round(y / step), round(x / step)
        off = share[10 + at[0] * step - y, 10 + at[1] * step - x]
        # variance 2^2 everywhere and (12^2 + 2^2) in one pixel, whose SD in time 51 frames tell to an eighth
        expected = math.sqrt(1 + off * 36 / share.sum())
        assert relative[at] == pytest.approx(expected, rel=0.3)
        assert relative[at] > 1.2
    assert np.mean(relative > 1.01) < 0.03
    assert np.median(relative) == pytest.approx(1, rel=1e-6)


def test_gain_misfit_and_stretch_of_round_spots_in_photon_noise() -> None:
    across = np.linspace(5, 25, SHAPE[1])
    look = look_at(photons(across + spots(60, 8, 100.0), 1.0))
    assert look.light.per_grey == pytest.approx(1, rel=0.25)
    assert 0.002 <= look.light.misfit < 0.06
    assert 0 <= look.light.stretch < 0.06
    assert 0.1 <= look.light.width_sd < 0.15


@pytest.mark.parametrize("peak", [100.0, 25.0])
@pytest.mark.parametrize("electrons_per_grey", [0.5, 2.0])
def test_where_light_is_even_spots_tell_the_gain(peak: float, electrons_per_grey: float) -> None:
    frames = photons(12 + spots(60, 8, peak), electrons_per_grey)
    video: Any = naive.ArrayVideo(frames)
    background = find_background(video)
    assert background.per_grey == 0
    light = choose_look(video, background, Settings()).light
    assert light.per_grey == pytest.approx(1 / electrons_per_grey, rel=0.25)
    assert light.misfit < 0.1


@pytest.mark.parametrize("across", [np.linspace(20, 90, SHAPE[1]), np.full(SHAPE[1], 40.0)])
def test_without_photons_light_makes_no_noise(across: np.ndarray) -> None:
    # 32 spots tell a pixel's variance of 4 to 7 %, over some 60 grey levels of light: the gain to 0.005
    look = look_at(noisy(across + spots(60, 8, 100.0)))
    assert 0 <= look.light.per_grey < 0.015
    assert 0.002 <= look.light.misfit < 0.03


@pytest.mark.parametrize(("snr", "narrower"), [(7.0, 1 / 49), (40.0, 0.0)])
def test_dim_spots_are_as_wide_as_bright_ones(snr: float, narrower: float) -> None:
    matched, rng = MatchedFilter(1.5, np.zeros((40, 40), np.float32), 1), np.random.default_rng(18)
    noise, found = np.full(matched.grid, matched.noise_gain, np.float32), []
    for _ in range(2500):
        light = snr / (math.sqrt(math.pi) * 1.5) * naive.gaussian(*rng.uniform(19, 21, 2), 1.5, (40, 40))
        seen = matched.see(
            (light + rng.normal(size=light.shape)).astype(np.float32), np.full(matched.tiles, matched.noise_gain, np.float32)
        )
        level = replace(seen, level=np.zeros(matched.tiles))
        rows, _ = matched.fit(level, noise, 5.0, Light(misfit=0.002))
        found.append(rows[:1])
    spots = np.concatenate(found)
    # a width is known to 1 / SNR, and the median of 2500 to 0.4 %
    assert find_width_px(spots) == pytest.approx(1.5, rel=0.012)
    assert np.median(spots[:, WIDTH]) == pytest.approx(1.5 * (1 - narrower), rel=0.012)


def test_smeared_spots_are_told_stretched() -> None:
    light = {longer: look_at(noisy(40 + spots(40, 8, 120.0, longer=longer))).light for longer in (0.0, 0.1, 0.2)}
    assert light[0.0].stretch < 0.05
    # all alike, in all directions: the median square is longer^2 = 2 ln 2 s^2, and the smallest particles are smeared twice as much
    for longer in (0.1, 0.2):
        assert light[longer].stretch == pytest.approx(2 * longer / math.sqrt(2 * math.log(2)), rel=0.2)


def test_spots_that_are_no_gaussians_have_a_misfit() -> None:
    def light(hole: float, *peaks: float) -> Any:
        """Return what is told of Gaussians less a share of their fourth powers, which are half as wide."""
        shapes = [spots(40, 6 // len(peaks), 1.0, 2.2, apart=20, seed=k) for k in range(len(peaks))]
        return look_at(noisy(40 + sum(peak * (g - hole * g**4) for peak, g in zip(peaks, shapes, strict=True)))).light

    rings, whole, alike = light(0.4, 150.0, 50.0), light(0.0, 150.0, 50.0), light(0.4, 150.0)
    assert 0.07 < rings.misfit < 0.3
    assert rings.per_grey < 0.02
    assert whole.misfit < 0.02
    # of spots all of one height misfit and gain look alike, and it is gain
    assert alike.misfit < 0.02
    assert alike.per_grey * 150 == pytest.approx((rings.misfit * 150) ** 2, rel=0.8)


def test_spots_of_many_widths_scatter() -> None:
    even, mixed = (
        look_at(noisy(40 + sum(spots(40, 2, 150.0, w, seed=k) for k, w in enumerate(widths))))
        for widths in ([1.6] * 4, (1.2, 1.45, 1.75, 2.1))
    )
    assert even.light.width_sd == 0.1  # no less is believed
    # ln: 0.18, 0.37, 0.56 and 0.74, of which the narrowest are not among the brighter half
    assert 0.12 < mixed.light.width_sd < 0.4


def test_of_few_spots_nothing_is_told() -> None:
    look = look_at(noisy(np.full((30, *SHAPE), 50.0)))
    assert look.light.stretch == 0
    assert look.light.misfit == 0.1
    assert look.light.width_sd == 0.5


def test_a_frame_that_is_noisier_than_usual_is_told() -> None:
    look = look_at(noisy(40 + spots(30, 6, 60.0)))
    rng = np.random.default_rng(7)
    # of a Gaussian that is cut off at three of the usual SD the variance is less: a louder frame counts for somewhat quieter than it is
    for times in (0.6, 1.0, 1.5, 2.0, 3.0):
        told = [look.see((40 + 2 * times * rng.normal(size=SHAPE)).astype(np.float32)).factor for _ in range(6)]
        cut = math.sqrt(stats.truncnorm(-3 / times, 3 / times).var() / 0.9733)
        assert 0.92 * times * cut < np.mean(told) < 1.2 * times
    # and a spot must then stand as much higher
    quiet = look.see((40 + 40 * naive.gaussian(60, 50, 1.5, SHAPE) + 2 * rng.normal(size=SHAPE)).astype(np.float32))
    snr = {}
    for name, noise in (("usual", 2.0), ("loud", 3.0)):
        seen = look.see((40 + 60 * naive.gaussian(60, 50, 1.5, SHAPE) + noise * rng.normal(size=SHAPE)).astype(np.float32))
        found, _ = look.fit(seen)
        assert len(found) == 1
        snr[name] = found[0, SNR]
    assert snr["usual"] / snr["loud"] == pytest.approx(1.42, abs=0.25)
    assert quiet.factor == pytest.approx(1, abs=0.15)


def test_frames_that_are_not_in_the_still_background_have_the_usual_noise() -> None:
    frames = noisy(np.full((153, *SHAPE), 40.0))
    video: Any = naive.ArrayVideo(frames)
    background = find_background(video)
    look = choose_look(video, background, Settings())
    inside = np.isin(np.arange(153), background.sampled)
    assert inside.sum() == 51
    # each frame's own tiles, against what is told of all: variances 1 + 2 / 51 apart
    ratio = np.array([np.mean(look.see(frame).variance / look.spread**2) for frame in frames])
    assert ratio[~inside].mean() == pytest.approx(1, abs=0.02)
    assert ratio[~inside].mean() / ratio[inside].mean() == pytest.approx(1 + 2 / 51, abs=0.012)


def test_particles_lift_no_level_and_make_no_frame_noisier() -> None:
    look = look_at(noisy(40 + spots(60, 10, 40.0)))
    empty = look_at(noisy(np.full((60, *SHAPE), 40.0)))
    assert 0.005 < look.lifted < 0.2
    assert 1.005 < look.widened < 1.2
    assert 0 <= empty.lifted < 0.01
    assert 1 <= empty.widened < 1.01
    # as many spots in frames that the look was not taken from: what is between them is level, and usual
    off, factor = [], []
    for frame in noisy(40 + spots(40, 10, 40.0, seed=9), seed=9):
        seen = look.see(frame)
        found, _ = look.fit(seen)
        value = (seen.filtered - look.matched.to_grid(seen.level)) / look.noise
        y, x = np.mgrid[: value.shape[0], : value.shape[1]] * look.matched.step
        away = np.min(np.hypot(x[..., None] - found[:, 0], y[..., None] - found[:, 1]), axis=-1)
        away[:6] = away[-6:] = away[:, :6] = away[:, -6:] = 0
        off.append(value[away > 7].mean())
        factor.append(seen.factor)
    assert np.mean(off) == pytest.approx(0, abs=0.4 * look.lifted)
    # whose SD is 1 + 1 / 51 times that of the frames in the still background, which nearly all of them are in
    assert np.mean(factor) == pytest.approx(1.01, abs=0.012)


def test_where_noise_is_nothing_the_factor_is_one() -> None:
    look = look_at(np.full((30, *SHAPE), 9, np.uint8))
    nothing = replace(look, spread=np.zeros_like(look.spread))
    assert nothing.see(np.full(SHAPE, 9, np.uint8)).factor == 1.0


@pytest.mark.parametrize("peak", [60.0, -60.0])
def test_saturated_pixels_are_those_at_the_ceiling(peak: float) -> None:
    frames = np.clip(np.rint(noisy((200 if peak > 0 else 50) + spots(30, 6, 1.5 * peak))), 0, 255).astype(np.uint8)
    look = look_at(frames, 255.0)
    assert look.ceiling == (254.5 if peak > 0 else -0.5)
    at_ceiling = frames[3] == (255 if peak > 0 else 0)
    found, _ = look.fit(look.see(frames[3]))
    near = [at_ceiling[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5].any() for x, y in found[:, [X, Y]]]
    assert np.array_equal(found[:, SATURATED] > 0, near)
    assert any(near)


def test_the_threshold_falls_with_what_is_allowed() -> None:
    frames = noisy(40 + spots(30, 6, 60.0))
    thresholds = [look_at(frames, false_spots_per_frame=asked).threshold for asked in (0.01, 0.1, 1.0)]
    assert np.all(np.diff(thresholds) < 0)
    for asked, threshold in zip((0.01, 0.1, 1.0), thresholds, strict=True):
        assert threshold == pytest.approx(gaussian_threshold(asked, float((128 - 8) * (160 - 8)), 1.5), abs=0.35)


def test_a_look_is_the_same_every_time() -> None:
    frames = noisy(40 + spots(30, 6, 60.0))
    one, other = look_at(frames), look_at(frames)
    assert one.noise.tobytes() == other.noise.tobytes()
    assert (one.threshold, one.light, one.matched.width_px) == (other.threshold, other.light, other.matched.width_px)
