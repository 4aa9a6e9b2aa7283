from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nta
from nta.errors import UsageError, VideoError
from nta.flags import REFUSED, Flag
from nta.result import Result
from nta.simulate import make_recipe, write_video
from nta.spots import Spots

BEADS: dict[str, Any] = {
    "populations": [{"diameter_nm": 100.0}], "width_px": 160, "height_px": 128, "n_frames": 80, "in_view": 14.0,
    "peak_at_100nm_grey": 120.0, "brightness_exponent": 3.0, "hot_pixels": 4, "stuck_particles": 1, "seed": 1,
}  # fmt: skip
CODES_ALLOWED = {"crowded", "few_particles", "temperature_assumed", "exposure_estimated"}


@pytest.fixture(scope="session")
def beads_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small video of 100 nm beads, 80 frames of 160 x 128 px, that carries its calibration."""
    return write_video(make_recipe(**BEADS), None, tmp_path_factory.mktemp("beads") / "beads.tif")[0]


@pytest.fixture(scope="session")
def beads(beads_video: Path) -> Result:
    return nta.analyze(beads_video, threads=1)


def test_beads_have_their_size(beads: Result) -> None:
    d50 = beads.distribution.statistic("d50")
    # about 25 independent particles and 1100 steps: 3 % from the steps alone
    assert d50.value == pytest.approx(100.0, rel=0.10)
    assert d50.low < 100.0 < d50.high
    assert 0.04 < math.log(d50.high / d50.low) < 0.5
    assert beads.distribution.statistic("sd").value < 20
    assert beads.distribution.share(60, 160).value > 0.9
    assert len(beads.distribution.peaks) == 1


def test_spots_and_tracks_are_those_of_the_video(beads: Result) -> None:
    # 14 in the sheet, and the bright 100 nm ones are seen somewhat beyond it
    assert 12 < len(beads.spots) / 80 < 30
    assert beads.spots.chosen["polarity"].value == "bright"
    assert 1.3 < beads.spots.chosen["spot_width_px"].value < 2.3
    assert len(beads.drift.x_px) == beads.spots.n_frames == 80
    # 0.4 and 0.3 um/s are 0.096 and 0.072 px a frame; 1100 steps of 3 px
    assert beads.drift.x_px[-1] / 79 == pytest.approx(0.096, abs=0.4)
    assert beads.drift.y_px[-1] / 79 == pytest.approx(0.072, abs=0.4)
    assert {n.code for n in beads.notices} <= CODES_ALLOWED


def test_tallies_add_up(beads: Result) -> None:
    counts = beads.counts()
    assert counts["frames"] == 80
    assert counts["spots"] == len(beads.spots) == counts["spots_in_tracks"] + counts["unlinked"] == beads.tracks.start[-1]
    assert counts["tracks"] == counts["tracks_sized"] + sum(counts["rejected"].values())
    assert counts["unlinked"] == np.count_nonzero(beads.tracks.flags & np.uint32(Flag.UNLINKED))
    sized = (beads.sizes.flags & np.uint32(REFUSED)) == 0
    assert np.array_equal(np.flatnonzero(sized), beads.diffusion.track)
    given = np.isfinite(beads.sizes.diameter_nm)
    assert np.array_equal(given, sized & (beads.sizes.flags & np.uint32(Flag.NO_MOTION_RESOLVED) == 0))
    assert len(beads.particles_frame()) == counts["tracks"]
    assert len(beads.tracks_frame()) == counts["spots_in_tracks"]
    assert beads.frames_frame()["spots"].sum() == counts["spots"]


def test_histogram_sums_to_the_classes(beads: Result) -> None:
    histogram = beads.histogram_frame()
    assert histogram["fraction"].sum() == pytest.approx(1, abs=1e-6)
    for c, share in zip(beads.classes.classes, beads.classes.fraction, strict=True):
        rows = (histogram["diameter_low_nm"] >= c.low_nm) & (histogram["diameter_high_nm"] <= c.high_nm)
        assert histogram["fraction"][rows].sum() == pytest.approx(share.value, abs=1e-6)
    assert sum(f.value for f in beads.classes.fraction) == pytest.approx(1, abs=1e-9)
    p = beads.classes.p_class[beads.classes.label >= 0]
    assert p.sum(axis=1) == pytest.approx(np.ones(len(p)), abs=1e-9)
    assert len(p) == beads.counts()["tracks_sized"]


def test_intervals_of_particles_hold_their_diameters(beads: Result) -> None:
    sized = np.isfinite(beads.sizes.diameter_nm)
    d, low, high = (getattr(beads.sizes, name)[sized] for name in ("diameter_nm", "low_nm", "high_nm"))
    assert np.all((low <= d) & (d <= high))
    assert 0.8 < np.mean((low < 100) & (high > 100)) <= 1


def test_what_the_file_says_is_used_with_its_source(beads: Result) -> None:
    assert beads.calibration.pixel_size_um.value == pytest.approx(0.166, rel=1e-5)
    assert beads.calibration.fps.value == 25
    assert beads.calibration.fps.source == "file"
    assert beads.exposure_ms is not None
    assert beads.exposure_ms.value == pytest.approx(15.0)
    assert beads.used["medium"]["viscosity_mpas"].value == pytest.approx(0.89, rel=1e-3)
    assert beads.used["tracks"]["min_frames"].source == "default"
    assert beads.source.name == "beads"
    assert (beads.source.n_frames, beads.source.height, beads.source.width, beads.source.dtype) == (80, 128, 160, "uint8")


def test_threads_progress_and_repetition_change_nothing(beads: Result, beads_video: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    again = nta.analyze(str(beads_video), threads=2, progress=lambda *call: calls.append(call))
    for name in (*Spots.ROWS, "background", "noise"):
        assert getattr(again.spots, name).tobytes() == getattr(beads.spots, name).tobytes()
    assert again.tracks.start.tobytes() == beads.tracks.start.tobytes()
    assert again.diffusion.loglik.tobytes() == beads.diffusion.loglik.tobytes()
    assert again.distribution.weight.tobytes() == beads.distribution.weight.tobytes()
    assert again.distribution.replicates.tobytes() == beads.distribution.replicates.tobytes()
    assert again.classes.p_class.tobytes() == beads.classes.p_class.tobytes()
    assert again.summary()["size_nm"] == beads.summary()["size_nm"]
    assert again.notices == beads.notices
    stages = list(dict.fromkeys(stage for stage, _, _ in calls))
    assert stages == ["find spots", "link", "size"]
    for stage in stages:
        done = [d for s, d, _ in calls if s == stage]
        assert done == sorted(done)
        assert {total for s, _, total in calls if s == stage} == {done[-1]}


def test_options_given_by_name_reach_the_result(bare_video: Path) -> None:
    found = nta.analyze(str(bare_video), pixel_size_um=0.25, fps=30, exposure_ms=10, temperature_c=22, depth_um=10, dilution=100, name="x")
    assert found.source.name == "x"
    assert found.calibration.pixel_size_um.value == 0.25
    assert found.calibration.pixel_size_um.source == "option"
    assert found.settings.chosen.keys() == {"pixel_size_um", "fps", "exposure_ms", "temperature_c", "depth_um", "dilution"}
    # 8 bright spots a frame that step 1.2 px: D = (1.2 * 0.25)^2 / 2 * 30 = 1.35 um^2/s, 336 nm at 22 C
    assert 6.5 < found.counts()["spots_per_frame"] < 9
    assert found.distribution.statistic("d50").value == pytest.approx(336, rel=0.25)
    assert found.concentration.per_ml is not None
    volume_ml = found.spots.area_px * 0.25**2 * 10 * 1e-12
    assert found.concentration.per_ml.value == pytest.approx(100 * found.distribution.number_in_view.value / volume_ml)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Callable[[np.ndarray], Path]:
    folder = tmp_path_factory.mktemp("bare")

    def write(frames: np.ndarray) -> Path:
        return write_video(folder / f"v{len(list(folder.iterdir()))}.tif", frames)

    return write


def nothing_sized(found: Result) -> None:
    assert found.distribution.empty
    assert math.isnan(found.distribution.statistic("d50").value)
    assert all(math.isnan(f.value) for f in found.classes.fraction)
    assert found.summary()["size_nm"]["d50"]["value"] is None
    assert len(found.histogram_frame()) == 200
    assert found.counts()["tracks_sized"] == 0
    assert found.counts()["spots"] == found.counts()["spots_in_tracks"] + found.counts()["unlinked"]


@pytest.mark.parametrize("level", [0, 90])
def test_a_video_without_particles_is_a_result_without_sizes(bare: Callable[[np.ndarray], Path], level: int) -> None:
    found = nta.analyze(bare(np.full((30, 64, 64), level, np.uint8)), depth_um=8)
    counts = found.counts()
    assert [counts[k] for k in ("frames", "spots", "tracks", "tracks_sized", "unlinked")] == [30, 0, 0, 0, 0]
    assert [n.code for n in found.notices] == ["no_particles"]
    nothing_sized(found)
    assert len(found.particles_frame()) == len(found.tracks_frame()) == 0
    assert found.concentration.per_ml is None
    assert found.concentration.why_not == "no particle was sized"


def test_a_video_of_noise_sizes_nothing_or_next_to_it(bare: Callable[[np.ndarray], Path]) -> None:
    frames = np.clip(np.rint(20 + 3 * np.random.default_rng(3).normal(size=(40, 96, 96))), 0, 255).astype(np.uint8)
    found = nta.analyze(bare(frames))
    # 0.1 false spots a frame, nearly none of them linked
    assert found.counts()["spots"] <= 15
    nothing_sized(found)
    assert {n.code for n in found.notices} <= {"no_particles", "no_tracks"}


def test_two_frames_are_analysed_with_a_warning(tiny_video: Path) -> None:
    found = nta.analyze(tiny_video, frames="0:2")
    assert found.counts()["frames"] == 2
    assert 6 < found.counts()["spots"] < 24
    nothing_sized(found)
    assert {"short_video", "no_tracks"} <= {n.code for n in found.notices}


def test_particles_that_never_move_are_told_and_left_out(bare: Callable[[np.ndarray], Path]) -> None:
    # too short for a background, so that what is stuck is seen; nothing else is there
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:96, :96]
    scene = 20 + sum(80 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 4.5) for cx, cy in ((20.3, 30.1), (60.7, 40.2), (45.5, 75.8)))
    found = nta.analyze(bare(np.rint(scene + 2 * rng.normal(size=(15, 96, 96))).astype(np.uint8)))
    counts = found.counts()
    assert counts["tracks"] == counts["tracks_sized"] + sum(counts["rejected"].values())
    assert counts["rejected"]["immobile"] + counts["no_motion_resolved"] >= 3
    for statistic in ("d10", "d50", "d90"):
        value = found.distribution.statistic(statistic).value
        assert math.isnan(value) or value > 300
    assert all(15 <= p.diameter_nm <= 3500 for p in found.distribution.peaks)


def test_errors_come_before_any_work(tmp_path: Path, bare_video: Path) -> None:
    with pytest.raises(UsageError, match="unknown setting 'fsp'"):
        nta.analyze(bare_video, fsp=25)
    with pytest.raises(UsageError, match="--classes"):
        nta.analyze(tmp_path / "missing.tif", classes="nonsense")
    with pytest.raises(UsageError, match=r"missing\.tif"):
        nta.analyze(tmp_path / "missing.tif")
    with pytest.raises(UsageError, match="--pixel-size-um"):
        nta.analyze(bare_video)
    (tmp_path / "text.tif").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.tif"):
        nta.analyze(tmp_path / "text.tif")


@pytest.mark.parametrize("celsius", [-10.0, 100.0])
def test_every_allowed_temperature_can_be_analysed(bare: Callable[[np.ndarray], Path], celsius: float) -> None:
    found = nta.analyze(bare(np.zeros((3, 48, 48), np.uint8)), temperature_c=celsius)
    assert found.calibration.temperature_c.value == celsius
    assert found.distribution.scale_sd > 0
