from __future__ import annotations

import math

import naive
import numpy as np
import pytest

from nta.crowd import Crowd, find_crowd

SIDE_PX, N_FRAMES = 300.0, 400


def filmed(seed: int, hides_px: float, ratio: float, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return frame, x, y and SNR of all particles of unrelated frames, and who is not found: with one `ratio` times as bright near by."""
    rng = np.random.default_rng(seed)
    frame = np.repeat(np.arange(N_FRAMES), n)
    x, y = rng.uniform(0, SIDE_PX, (2, len(frame)))
    snr = 5.0 * np.exp(rng.exponential(0.8, len(frame)))
    hidden = np.zeros(len(frame), bool)
    for f in range(N_FRAMES):
        here = slice(f * n, (f + 1) * n)
        apart = np.hypot(x[here, None] - x[None, here], y[here, None] - y[None, here])
        hidden[here] = np.any((apart < hides_px) & (snr[None, here] > ratio * snr[here, None]), axis=1)
    return frame, x, y, snr, hidden


def crowd_of(frame: np.ndarray, x: np.ndarray, y: np.ndarray, snr: np.ndarray) -> Crowd:
    return find_crowd(naive.make_spots(frame, x, y, n_frames=N_FRAMES, snr=snr, area_px=SIDE_PX**2), 0.166)


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_who_is_hidden_is_told_by_the_pairs_that_are_missing(ratio: float) -> None:
    *all_of, hidden = filmed(0, 7.0, ratio)
    crowd = crowd_of(*(column[~hidden] for column in all_of))
    snr = all_of[3]
    for low, high in ((5.0, 6.5), (6.5, 10.0), (10.0, 20.0), (20.0, 60.0)):
        there = (snr >= low) & (snr < high)
        error = 3 * math.sqrt(hidden[there].sum() + 1) / there.sum()
        assert crowd.hidden(snr[there]).mean() == pytest.approx(hidden[there].mean(), abs=error + 0.008), low
    if ratio == 1.0:
        assert crowd.area_um2 == pytest.approx(math.pi * (7.0 * 0.166) ** 2, rel=0.12)


def test_nobody_hides_where_all_are_found() -> None:
    *all_of, _ = filmed(1, 0.0, 1.0)
    assert crowd_of(*all_of).hidden(np.array([1.0, 5.0, 20.0, 1e3])) == pytest.approx(0.0, abs=0.006)


def test_a_lone_particle_is_never_hidden() -> None:
    frame = np.arange(N_FRAMES)
    crowd = crowd_of(frame, 50.0 + 0.0 * frame, 60.0 + 0.0 * frame, np.full(N_FRAMES, 9.0))
    assert crowd.hidden(np.array([9.0]))[0] == 0
    assert Crowd().hidden(np.array([0.0, 9.0])).tolist() == [0.0, 0.0]


def test_who_is_hidden_stays_so_as_simulated() -> None:
    rng = np.random.default_rng(2)
    area, dt = math.pi * 1.1**2, 0.04
    crowd = Crowd(area_um2=area)
    d = np.array([0.3, 3.0, 12.0])
    radius, angle = 1.1 * np.sqrt(rng.random(200_000)), rng.uniform(0, 2 * np.pi, 200_000)
    for k, one in enumerate(d):
        # both move
        step = rng.normal(scale=math.sqrt(4 * one * dt), size=(2, 200_000))
        again = np.hypot(radius * np.cos(angle) + step[0], radius * np.sin(angle) + step[1]) < 1.1
        assert crowd.staying(d, dt)[k] == pytest.approx(again.mean(), abs=0.004)
    # those at rest stay, and where nothing hides nobody does
    assert crowd.staying(np.array([0.0]), dt)[0] == pytest.approx(1.0, abs=1e-4)
    assert Crowd().staying(d, dt) == pytest.approx(0.0, abs=1e-9)
