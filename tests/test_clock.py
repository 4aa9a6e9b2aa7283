"""Time stamps of frames: which intervals are constant but for rounding, which are gaps, which are odd."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from nta.clock import Clock

MS = Fraction(1, 1000)


def codes(clock: Clock) -> list[str]:
    return [notice.code for notice in clock.notices()]


@pytest.mark.parametrize("fps", [1, 24, 23.976, 25, 29.97, 30, 60, 99.9, 250, 400])
@pytest.mark.parametrize("n", [2, 12, 700])
def test_constant_intervals_in_whole_milliseconds(fps: float, n: int) -> None:
    clock = Clock([round(1000 * i / fps) for i in range(n)], MS)
    assert codes(clock) == []
    assert clock.rate_hz == pytest.approx(fps, abs=1.5 * fps**2 / 1000 / (n - 1) + 1e-9)


def test_rounding_twice() -> None:
    """Whole milliseconds, as MKV has them, in the ticks of an MP4 made of it."""
    clock = Clock([round(12800 * round(1000 * i / 30) / 1000) for i in range(300)], Fraction(1, 12800))
    assert codes(clock) == []
    assert clock.rate_hz == pytest.approx(30, rel=1e-3)


@pytest.mark.parametrize(("tick", "step"), [(Fraction(1, 25), 1), (MS, 40), (Fraction(1, 12800), 512)])
def test_gaps_are_dropped_frames(tick: Fraction, step: int) -> None:
    numbers = [i for i in range(60) if i not in (10, 30, 31, 32)]
    (notice,) = Clock([step * i for i in numbers], tick).notices()
    assert notice.code == "dropped_frames"
    assert "frames were dropped: 4 (gaps: 2, the first after frame 9)" in notice.message
    assert Clock([step * i for i in numbers], tick).rate_hz == pytest.approx(25)


def test_intervals_that_vary() -> None:
    stamps = np.cumsum([40] * 30 + [55, 25] + [40] * 20).tolist()
    (notice,) = Clock(stamps, MS).notices()
    assert notice.code == "variable_frame_rate"
    assert notice.message.startswith("2 of 51 intervals between frames are odd: from 25 to 55 ms, typically 40 ms")


def test_gaps_and_jitter_are_told_apart() -> None:
    stamps = np.cumsum([40] * 20 + [120] + [40] * 20 + [55] + [40] * 20).tolist()
    clock = Clock(stamps, MS)
    assert codes(clock) == ["dropped_frames", "variable_frame_rate"]
    assert "frames were dropped: 2 (gaps: 1, the first after frame 19)" in clock.notices()[0].message
    assert clock.notices()[1].message.startswith("1 of 61 intervals")


def test_jitter_of_less_than_a_tenth_is_let_pass() -> None:
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.integers(37, 44, 200)).tolist()  # 40 +- 3 ms
    assert codes(Clock(stamps, MS)) == []
    stamps = np.cumsum(rng.integers(30, 51, 200)).tolist()  # 40 +- 10 ms
    assert codes(Clock(stamps, MS)) == ["variable_frame_rate"]


@pytest.mark.parametrize(("stamps", "tick"), [([], MS), ([0], MS), ([0, 40, 80], Fraction(0))])
def test_unknown_times(stamps: list[int], tick: Fraction) -> None:
    clock = Clock(stamps, tick)
    assert (clock.rate_hz, codes(clock)) == (0.0, [])
