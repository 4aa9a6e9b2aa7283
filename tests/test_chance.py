from __future__ import annotations

import pytest

from nta.chance import gaussian_threshold


def test_threshold_by_hand() -> None:
    # 240 x 320 px seen at width 1.5: 76800 / 4.5 / 15.75 = 1083.6 cells; u = 4.6 has 1083.6 * 4.6 * exp(-10.58) = 0.1266 maxima
    assert gaussian_threshold(0.12664, 76800.0, 1.5) == pytest.approx(4.6, abs=0.002)


@pytest.mark.parametrize("false_spots", [1e-4, 0.1, 10.0, 1e6])
def test_threshold_is_never_below_three_and_falls_with_what_is_allowed(false_spots: float) -> None:
    u = gaussian_threshold(false_spots, 76800.0, 1.5)
    assert 3.0 <= u <= gaussian_threshold(false_spots / 10, 76800.0, 1.5) < 10
    assert u <= gaussian_threshold(false_spots, 768000.0, 1.5)
