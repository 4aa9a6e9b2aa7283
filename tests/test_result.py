"""The tables and the summary of a result, against numbers that can be counted in the fake result."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from fake_result import CLASSES, FPS, GRID_NM, N_FRAMES, PIXEL_UM, SAMPLES, empty_result, fake_result

from nta.concentration import Concentration
from nta.distribution import Interval
from nta.flags import Flag, names
from nta.limit import DetectionLimit
from nta.result import LEFT_OUT, STATISTICS, Result, plain
from nta.settings import Settings, Used

HISTOGRAM = (
    "diameter_low_nm diameter_nm diameter_high_nm fraction fraction_low fraction_high density_per_nm raw_count raw_fraction "
    "concentration_per_ml concentration_low_per_ml concentration_high_per_ml"
).split()
PARTICLES = (
    "particle first_frame last_frame frames one_particle x_um y_um diffusion_um2_s diameter_nm diameter_low_nm diameter_high_nm class "
    "p_below_30 p_exosome p_microvesicle p_apoptotic_body signal snr flags"
).split()
TRACKS = "frame particle x y signal snr x_sd_px y_sd_px width_px flags".split()
FRAMES = "frame time_s spots background noise drift_x_px drift_y_px".split()


@pytest.fixture(scope="module")
def result() -> Result:
    return fake_result("ev", 40, per_ml=1e9)


# --- counts ---


def test_counts_are_those_that_were_built(result: Result) -> None:
    counts = result.counts()
    assert counts["frames"] == N_FRAMES
    assert counts["unlinked"] == 40
    assert counts["tracks"] == 40
    assert counts["tracks_sized"] == 36
    assert counts["rejected"] == {
        "too_short": 2,
        "immobile": 1,
        "linked_noise": 1,
        "directed": 0,
        "confined": 0,
    }, "too short and immobile counts once, as too short"
    assert counts["no_motion_resolved"] == 1
    assert counts["spots_per_frame"] == pytest.approx(counts["spots"] / N_FRAMES, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_tally_adds_up_whatever_the_flags(seed: int) -> None:
    rng = np.random.default_rng(seed)
    result = fake_result("ev", 30, seed=seed)
    bits = sum((rng.random(60) < 0.3) * int(flag) for flag in (*LEFT_OUT, Flag.NO_MOTION_RESOLVED, Flag.SATURATED))
    flags = np.where(result.tracks.n_spots == 1, int(Flag.UNLINKED), bits).astype(np.uint32)
    result = replace(result, sizes=replace(result.sizes, flags=flags))
    counts, rejected = result.counts(), result.counts()["rejected"]
    assert counts["spots"] == counts["spots_in_tracks"] + counts["unlinked"] == len(result.spots)
    assert counts["tracks"] == counts["tracks_sized"] + sum(rejected.values()) == len(result.particles_frame())
    assert counts["spots_in_tracks"] == len(result.tracks_frame()) == result.particles_frame()["frames"].sum()


# --- particles.csv, tracks.csv, frames.csv ---


def test_particles_are_the_tracks_of_two_or_more_spots(result: Result) -> None:
    frame = result.particles_frame()
    assert list(frame.columns) == PARTICLES
    assert frame["particle"].tolist() == list(range(40))
    tracks = result.tracks
    for row, i in zip(frame.to_dict("records"), result.linked, strict=True):
        part = slice(tracks.start[i], tracks.start[i + 1])
        spots = tracks.spots
        assert (row["first_frame"], row["last_frame"]) == (spots.frame[part].min(), spots.frame[part].max())
        assert row["frames"] == part.stop - part.start
        assert row["x_um"] == pytest.approx(PIXEL_UM * spots.x_px[part].mean(), rel=1e-12)
        assert row["y_um"] == pytest.approx(PIXEL_UM * spots.y_px[part].mean(), rel=1e-12)
        assert row["signal"] == pytest.approx(np.median(spots.signal[part]), rel=1e-12)
        assert row["snr"] == pytest.approx(np.median(spots.snr[part]), rel=1e-12)
        assert row["flags"] == names(int(result.sizes.flags[i]))
        assert row["diameter_nm"] == pytest.approx(result.sizes.diameter_nm[i], nan_ok=True)


def test_particles_carry_class_and_diffusion_where_sized_only(result: Result) -> None:
    frame = result.particles_frame()
    left_out = frame["flags"].str.contains("too_short|immobile|linked_noise")
    assert left_out.sum() == 4
    assert (frame.loc[left_out, "class"] == "").all()
    probabilities = frame[[f"p_{c.name}" for c in CLASSES]]
    assert probabilities[left_out].isna().all(axis=None)
    assert np.allclose(probabilities[~left_out].sum(axis=1), 1.0)
    assert (probabilities[~left_out].idxmax(axis=1) == "p_" + frame.loc[~left_out, "class"]).all()
    assert frame["diffusion_um2_s"].isna().tolist() == left_out.tolist()
    no_motion = frame["flags"] == "no_motion_resolved"
    assert no_motion.sum() == 1
    assert frame.loc[no_motion, "diameter_nm"].isna().all()
    assert frame.loc[no_motion, "class"].ne("").all()


def test_tracks_hold_the_spots_of_the_particles_in_order(result: Result) -> None:
    frame = result.tracks_frame()
    assert list(frame.columns) == TRACKS
    by_particle = frame.groupby("particle")
    particles = result.particles_frame().set_index("particle")
    assert by_particle.size().tolist() == particles["frames"].tolist()
    assert np.allclose(by_particle["x"].mean() * PIXEL_UM, particles["x_um"])
    assert all((np.diff(f) > 0).all() for _, f in by_particle["frame"])
    assert set(frame["flags"]) == {"", "saturated"}


def test_frames_have_a_row_each(result: Result) -> None:
    frame = result.frames_frame()
    assert list(frame.columns) == FRAMES
    assert len(frame) == N_FRAMES
    assert frame["spots"].sum() == len(result.spots)
    assert frame["time_s"].iloc[25] == pytest.approx(25 / FPS, rel=1e-12)
    assert frame["drift_x_px"].iloc[-1] == 3.0


# --- histogram.csv ---


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("options", [{}, {"bin_width_nm": 7.0}, {"log_bins": True}], ids=["5 nm", "7 nm", "log"])
def test_histogram_holds_everything(sample: str, options: dict[str, float]) -> None:
    result = fake_result(sample, 60, settings=Settings().with_options(**options))
    frame = result.histogram_frame()
    assert list(frame.columns) == HISTOGRAM
    assert frame["fraction"].sum() == pytest.approx(1.0, abs=1e-6)
    assert frame["raw_count"].sum() == len(result.distribution.raw_nm)
    assert frame["raw_fraction"].sum() == pytest.approx(1.0, abs=1e-12)
    width = frame["diameter_high_nm"] - frame["diameter_low_nm"]
    assert np.allclose(frame["density_per_nm"] * width, frame["fraction"])
    assert (frame["diameter_low_nm"].iloc[1:].to_numpy() == frame["diameter_high_nm"].iloc[:-1].to_numpy()).all()
    assert ((frame["diameter_nm"] > frame["diameter_low_nm"]) & (frame["diameter_nm"] < frame["diameter_high_nm"])).all()


def test_histogram_edges_go_on_to_the_next_100_above_the_data() -> None:
    small = fake_result("bead")
    assert small.histogram_edges().tolist() == list(range(0, 1001, 5))
    raw = small.distribution.raw_nm.copy()
    raw[0] = 1300.0
    larger = replace(small, distribution=replace(small.distribution, raw_nm=raw))
    assert larger.histogram_edges().tolist() == list(range(0, 1401, 5)), "a diameter on an edge needs the bin above it"
    assert larger.histogram_frame()["raw_count"].iloc[260] == 1
    wide = fake_result("wide")
    assert wide.histogram_edges()[-1] == 3700.0, "the weights reach the grid's end"
    assert small.histogram_edges().tolist() == larger.histogram_edges()[:201].tolist(), "two files agree row by row"


def test_log_bins_are_40_a_decade_through_10_nm() -> None:
    edges = fake_result("bead", settings=Settings().with_options(log_bins=True)).histogram_edges()
    assert edges[0] == pytest.approx(10.0, rel=1e-12)
    assert edges[40] == pytest.approx(100.0, rel=1e-12)
    assert edges[-1] == pytest.approx(1000.0, rel=1e-12)
    assert len(edges) == 81


def test_log_bins_begin_below_10_nm_where_the_grid_does() -> None:
    result = fake_result("bead", settings=Settings().with_options(log_bins=True))
    weight = np.zeros_like(GRID_NM)
    weight[0] = 1.0
    dist = replace(result.distribution, grid_nm=GRID_NM / 3, weight=weight)
    edges = replace(result, distribution=dist).histogram_edges()
    assert edges[0] < 5.0 / np.sqrt(GRID_NM[1] / GRID_NM[0])
    assert edges[0] > 4.5
    assert np.isclose(edges, 10.0).sum() == 1


@pytest.mark.parametrize("sample", SAMPLES)
def test_bins_of_a_class_sum_to_the_class(sample: str) -> None:
    result = fake_result(sample, 60)
    frame = result.histogram_frame()
    for c, share in zip(CLASSES, result.classes.fraction, strict=True):
        inside = (frame["diameter_low_nm"] >= c.low_nm) & (frame["diameter_high_nm"] <= c.high_nm)
        assert frame.loc[inside, "fraction"].sum() == pytest.approx(share.value, abs=1e-6)


def test_concentration_of_a_bin_is_its_share_of_the_whole(result: Result) -> None:
    frame = result.histogram_frame()
    assert np.allclose(frame["concentration_per_ml"], 1e9 * frame["fraction"])
    assert frame["concentration_per_ml"].sum() == pytest.approx(1e9, rel=1e-6)
    assert (frame["concentration_low_per_ml"] >= 0).all()
    assert (frame["concentration_low_per_ml"] <= frame["concentration_per_ml"]).all()
    assert (frame["concentration_high_per_ml"] >= frame["concentration_per_ml"]).all()
    without = fake_result("ev").histogram_frame()
    assert without[[c for c in HISTOGRAM if c.startswith("concentration")]].isna().all(axis=None)


def test_interval_of_a_product_adds_in_quadrature(result: Result) -> None:
    whole = Interval(1e9, 0.8e9, 1.2e9, 0.9e9, 1.1e9)
    result = replace(result, concentration=Concentration(whole))
    part = result.per_ml(Interval(0.5, 0.4, 0.6, 0.45, 0.55))
    assert part.value == pytest.approx(5e8)
    assert (part.low, part.high) == pytest.approx((5e8 - np.sqrt(2) * 1e8, 5e8 + np.sqrt(2) * 1e8))
    assert (part.low_stat, part.high_stat) == pytest.approx((5e8 - np.sqrt(2) * 5e7, 5e8 + np.sqrt(2) * 5e7))
    assert result.per_ml(Interval(1, 1, 1, 1, 1)) == whole
    assert result.per_ml(Interval(0, 0, 0.1, 0, 0.1)).low == 0.0


# --- sizes and summaries ---


def test_raw_sizes_by_hand(result: Result) -> None:
    raw = np.array([52.0, 53.0, 54.0, 81.0, np.nan, 110.0])
    sizes = replace(result, distribution=replace(result.distribution, raw_nm=raw)).raw_size_nm()
    assert sizes == pytest.approx({"mean": 70.0, "mode": 52.5, "sd": np.sqrt(2590 / 4), "d10": 52.4, "d50": 54.0, "d90": 98.4})
    one = replace(result, distribution=replace(result.distribution, raw_nm=raw[:1])).raw_size_nm()
    assert one == pytest.approx({"mean": 52.0, "mode": 52.5, "sd": np.nan, "d10": 52.0, "d50": 52.0, "d90": 52.0}, nan_ok=True)


def test_summary_has_the_documented_keys(result: Result) -> None:
    summary = result.summary()
    assert (
        list(summary)
        == (
            "schema software input calibration settings counts size_nm raw_size_nm classes concentration_per_ml concentration_why_not "
            "detection_limit_nm warnings"
        ).split()
    )
    assert list(summary["software"]) == ["nta", "numpy", "numba", "scipy", "trackpy", "scikit-image", "tifffile"]
    assert summary["software"]["numpy"] == np.__version__
    assert summary["input"]["path"] == "day1/video.tif"
    assert summary["calibration"]["exposure_ms"] == {"value": 15.0, "source": "option", "sd": 0.3}
    assert summary["settings"]["tracks"]["min_frames"] == {"value": 5, "source": "default", "sd": None}
    assert [name for name in summary["size_nm"] if name != "peaks"] == list(STATISTICS)
    assert summary["size_nm"]["d50"]["value"] == pytest.approx(95.0, rel=0.02), "the median of the log-normal"
    assert summary["size_nm"]["d50"]["low"] < 95.0 < summary["size_nm"]["d50"]["high"]
    assert summary["size_nm"]["peaks"] == [{"diameter_nm": 95.0, "fraction": 1.0, "gsd": 1.45}]
    assert [c["name"] for c in summary["classes"]] == [c.name for c in CLASSES]
    assert summary["classes"][-1]["high_nm"] is None
    assert sum(c["per_ml"]["value"] for c in summary["classes"]) == pytest.approx(1e9, rel=1e-6)
    assert summary["warnings"] == [{"code": "temperature_assumed", "message": "25 C was assumed; give --temperature-c."}]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["detection_limit_nm"] is None
    limited = replace(result, detection_limit=DetectionLimit(55.0, 48.0, 63.0))
    assert limited.summary()["detection_limit_nm"] == {"diameter_nm": 55.0, "low_nm": 48.0, "high_nm": 63.0}
    assert limited.detection_limit_nm == 55.0


def test_summary_row_agrees_with_the_summary(result: Result) -> None:
    frame, summary = result.summary_frame(), result.summary()
    assert len(frame) == 1
    assert list(frame.columns) == (
        ["video", "frames", "tracks", "tracks_sized"]
        + [f"{s}{part}_nm" for s in ("mean", "mode", "d10", "d50", "d90", "sd") for part in ("", "_low", "_high")]
        + [f"fraction_{c.name}{part}" for c in CLASSES for part in ("", "_low", "_high")]
        + ["concentration_per_ml", "concentration_low_per_ml", "concentration_high_per_ml"]
        + ["temperature_c", "pixel_size_um", "fps", "exposure_ms", "warnings"]
    )
    row = frame.iloc[0]
    assert row["d90_high_nm"] == pytest.approx(summary["size_nm"]["d90"]["high"], rel=1e-8)
    assert row["fraction_exosome_low"] == pytest.approx(summary["classes"][1]["fraction"]["low"], rel=1e-8)
    assert row["concentration_low_per_ml"] == pytest.approx(0.8e9)
    assert row["exposure_ms"] == pytest.approx(15.0)
    assert row["warnings"] == "temperature_assumed"


def test_exposure_is_the_estimate_where_none_is_known(result: Result) -> None:
    unknown = replace(result, calibration=replace(result.calibration, exposure_s=None))
    assert unknown.exposure_ms is None
    assert unknown.summary()["calibration"]["exposure_ms"] is None
    assert np.isnan(unknown.summary_frame()["exposure_ms"].iloc[0])
    told = replace(unknown, diffusion=replace(result.diffusion, chosen={"exposure_ms": Used(13.0, "measured", 2.5)}))
    assert told.exposure_ms == Used(13.0, "measured", 2.5)
    assert told.summary_frame()["exposure_ms"].iloc[0] == 13.0


def test_empty_video_gives_zero_counts_and_nulls() -> None:
    result = empty_result()
    summary = result.summary()
    counts = summary["counts"]
    assert (counts["frames"], counts["spots"], counts["tracks"], counts["tracks_sized"]) == (N_FRAMES, 0, 0, 0)
    assert counts["spots_per_frame"] == 0.0
    assert all(v is None for name in STATISTICS for v in summary["size_nm"][name].values())
    assert all(v is None for v in summary["raw_size_nm"].values())
    assert all(v is None for c in summary["classes"] for v in c["fraction"].values())
    assert summary["concentration_per_ml"] is None
    assert [w["code"] for w in summary["warnings"]] == ["no_particles"]
    assert (len(result.particles_frame()), len(result.tracks_frame()), len(result.frames_frame())) == (0, 0, N_FRAMES)
    histogram = result.histogram_frame()
    assert histogram["diameter_low_nm"].tolist() == list(range(0, 1000, 5))
    assert histogram["fraction"].isna().all()
    assert (histogram["raw_count"] == 0).all()
    assert list(result.particles_frame().columns) == PARTICLES


def test_plain_values() -> None:
    given = {"a": np.float64(1 / 3), "b": np.int32(7), "c": [np.nan, np.inf, True, None], "d": np.bool_(False), "e": "x", 3: np.arange(2)}
    assert plain(given) == {"a": 0.333333333, "b": 7, "c": [None, None, True, None], "d": False, "e": "x", "3": [0, 1]}
    assert type(plain(np.int32(7))) is int
    assert type(plain(np.True_)) is bool


def test_figure_of_a_result_is_a_matplotlib_figure(result: Result, tmp_path) -> None:
    from matplotlib.figure import Figure

    assert isinstance(result.figure(tmp_path / "f.png"), Figure)
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_output_stages_load_neither_pandas_nor_matplotlib() -> None:
    code = "import sys, nta.report; print([m for m in ('pandas', 'matplotlib', 'rich', 'jinja2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
