from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result
from conftest import EXPOSURE_MS, FPS, PIXEL_SIZE_UM, TEMPERATURE_C
from PIL import Image

from nta import preview
from nta.background import find_background
from nta.cli import cli
from nta.cli.exits import DATA, SOME_FAILED, USAGE
from nta.errors import UsageError, VideoError
from nta.excerpt import EXCERPT_PX, FEWEST_PAIRS, MOST_PAIRS, Excerpt, take_excerpt
from nta.flow import Flow, find_flow
from nta.footage import Noise, Still, find_still, measure_light, measure_noise
from nta.inspect import CALIBRATION, Inspection, inspect
from nta.settings import Settings, Used
from nta.spots import Spots
from nta.verdict import BAD, GOOD, LOOK, UNKNOWN, Finding, judge
from nta.video import Video, open_video

SIDE, FRAMES = 96, 32
NAMES = (
    "spots_per_frame wrong_link_share snr saturated_share spot_width_px wide_share flow_px shake_px flicker repeated_frames "
    "noise_grey zero_share background_ratio still_things"
).split()


def walk(n_frames: int = FRAMES, n: int = 8, *, step: float = 1.0, flow: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> np.ndarray:
    """Return (n_frames, n, 2) x and y of random walks in a flow, on a field whose edges are joined."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=step, size=(n_frames, n, 2)) + np.array(flow)
    return np.mod(rng.uniform(0, SIDE, (n, 2)) + np.cumsum(steps, axis=0), SIDE)


def light(places: np.ndarray, *, sigma: float = 1.5, peak: float | np.ndarray = 90.0) -> np.ndarray:
    """Return (n_frames, SIDE, SIDE) float: a Gaussian spot at each place."""
    grid = np.arange(SIDE)
    shape = np.exp(-((grid - places[..., None]) ** 2) / (2 * sigma**2))
    return np.einsum("s,fsy,fsx->fyx", np.broadcast_to(peak, places.shape[1]).astype(float), shape[:, :, 1], shape[:, :, 0])


def camera(image: np.ndarray, *, noise: float = 2.0, seed: int = 1) -> np.ndarray:
    """Return `image` as 8-bit frames with noise."""
    return np.clip(np.rint(image + np.random.default_rng(seed).normal(scale=noise, size=image.shape)), 0, 255).astype(np.uint8)


@pytest.fixture
def look(tmp_path: Path, write_video: Callable[..., Path]) -> Callable[..., Inspection]:
    """Return a function that writes frames and inspects them."""

    def inspected(images: np.ndarray, /, *, calibrated: bool = True, **options: object) -> Inspection:
        return inspect(write_video(tmp_path / "video.tif", images, calibrated=calibrated), threads=1, **options)

    return inspected


def finding(found: Inspection, name: str) -> Finding:
    return next(f for f in found.findings if f.name == name)


@pytest.fixture
def excerpt_of(tmp_path: Path) -> Iterator[Callable[[np.ndarray], Excerpt]]:
    """Return a function that writes frames and takes the excerpt."""
    videos: list[Video] = []

    def taken(frames: np.ndarray) -> Excerpt:
        path = tmp_path / f"{len(videos)}.tif"
        tifffile.imwrite(path, frames, metadata={"axes": "TYX"}, photometric="minisblack")
        videos.append(open_video(path, Settings().with_options(pixel_size_um=0.2, fps=20)))
        return take_excerpt(videos[-1])

    yield taken
    for video in videos:
        video.close()


def judged(excerpt: Excerpt, spots: Spots | None = None, flow: Flow | None = None) -> dict[str, Finding]:
    """Return the findings of frames alone, and of spots and flow where given."""
    background = find_background(excerpt)
    noise = measure_noise(excerpt, background.still)
    still = find_still(background, excerpt, noise, 1.5)
    spots = spots_at(np.empty((excerpt.n_frames, 0, 2))) if spots is None else spots
    return {f.name: f for f in judge(spots, flow, measure_light(excerpt), noise, still, excerpt, (None, None))}


# --- flaws that were put in, and sound videos beside them ---


def test_a_sound_video_is_good_in_all(look):
    found = look(camera(20 + light(walk(n=2, step=1.9, flow=(1.2, 0.7)))))
    assert [f.name for f in found.findings] == NAMES
    verdicts = {f.name: f.verdict for f in found.findings}
    # 60 spots are too few tracks, which is no flaw of the pictures
    assert {name for name, verdict in verdicts.items() if verdict != GOOD} == {"spots_per_frame"}
    assert 1 < finding(found, "spots_per_frame").value <= 2.1  # nobody is looked for in the rim
    assert finding(found, "wide_share").value < 0.2
    assert finding(found, "snr").value > 40
    assert finding(found, "saturated_share").value == 0
    assert (found.polarity, found.sampled) == ("bright", FRAMES)


def test_saturation(look):
    apart = np.stack(np.meshgrid([15, 48, 81], [20, 48, 76]), axis=-1).reshape(9, 2)[:8]
    moving = apart + np.cumsum(np.random.default_rng(3).normal(scale=0.9, size=(FRAMES, 8, 2)), axis=0)
    found = finding(look(camera(20 + light(moving, peak=np.array([600.0] * 4 + [80.0] * 4)))), "saturated_share")
    assert found.value == pytest.approx(0.5, abs=0.08)
    assert found.verdict == BAD


@pytest.mark.parametrize(
    ("sigma", "calibrated", "verdict"), [(1.5, False, GOOD), (4.5, False, LOOK), (4.5, True, LOOK), (0.45, False, LOOK)]
)
def test_focus(look, sigma, calibrated, verdict):
    frames = camera(20 + light(walk(n=3, step=2.0, flow=(3.0, 2.0)), sigma=sigma, peak=150), noise=1.0)
    width = finding(look(frames, calibrated=calibrated), "spot_width_px")
    # a spot narrower than its pixels takes their width; the background that is taken off a wide one narrows it
    assert width.value == pytest.approx(sigma, rel=0.1 if sigma == 1.5 else 0.35)
    assert width.verdict == verdict
    assert ("um" in width.shown) == calibrated


def test_most_spots_blurred(look):
    mixed = camera(20 + light(walk(n=2, seed=1), peak=150) + light(walk(n=6, seed=2), sigma=3.0, peak=100))
    found = finding(look(mixed), "wide_share")
    assert 0.5 < found.value < 0.9  # 6 of 8
    assert found.verdict == LOOK


def test_dim_particles_are_near_the_threshold(look):
    dim = finding(look(camera(20 + light(walk(), peak=4.2))), "snr")
    assert dim.verdict in (LOOK, BAD)
    assert 4 < dim.value < 7


def test_flicker(excerpt_of):
    factor = 1 + 0.05 * np.random.default_rng(5).normal(size=FRAMES)
    found = judged(excerpt_of(camera((100 + light(walk())) * factor[:, None, None])))["flicker"]
    left = factor - np.polynomial.Polynomial.fit(np.arange(FRAMES), factor, 1)(np.arange(FRAMES))
    assert found.value == pytest.approx(np.sqrt(np.sum(left**2) / (FRAMES - 2)) / factor.mean(), rel=0.02)
    assert found.value == pytest.approx(0.05, rel=3 / np.sqrt(2 * (FRAMES - 2)))
    assert found.verdict == LOOK
    fading = judged(excerpt_of(camera((100 + light(walk())) * np.linspace(1.1, 0.9, FRAMES)[:, None, None])))["flicker"]
    assert fading.value < 0.005
    assert (fading.verdict, fading.meaning) == (GOOD, "falls by 20 % over the video")


@pytest.mark.parametrize(("repeats", "verdict"), [((), GOOD), ((30,), BAD), ((3, 4, 17, 31), BAD)])
def test_repeated_frames_are_counted(excerpt_of, repeats, verdict):
    frames = camera(20 + light(walk()))
    for i in repeats:
        frames[i] = frames[i - 1]
    found = judged(excerpt_of(frames))["repeated_frames"]
    assert (found.value, found.verdict) == (len(repeats), verdict)
    assert found.shown == f"{len(repeats)} of {FRAMES - 1}"


def test_one_repeated_frame_of_a_hundred_is_to_be_looked_at(excerpt_of):
    frames = np.random.default_rng(0).integers(10, 30, (100, 32, 32), np.uint8)
    frames[50] = frames[49]
    found = judged(excerpt_of(frames))["repeated_frames"]
    assert (found.value, found.verdict) == (1, LOOK)


def still_of(excerpt: Excerpt) -> Still:
    background = find_background(excerpt)
    still = find_still(background, excerpt, measure_noise(excerpt, background.still), 1.5)
    assert still is not None
    return still


def test_hot_pixels_and_stuck_particles_are_counted(excerpt_of):
    scene = np.full((SIDE, SIDE), 20.0)
    hot = [(10, 20), (30, 90), (55, 5), (70, 70), (90, 33), (93, 84), (45, 64)]
    for row, column in hot:
        scene[row, column] += 60
    stuck = np.array([[[25.3, 25.8], [64.0, 80.2], [84.5, 40.1]]])
    # slow particles stay on a pixel for a third of the video, which is not still
    excerpt = excerpt_of(camera(scene + light(stuck)[0] + light(walk(step=1.5))))
    still = still_of(excerpt)
    assert sorted(map(tuple, still.hot_px.tolist())) == sorted(hot)
    assert len(still.things) == 3
    for x, y in stuck[0]:
        assert sum(top <= y <= bottom and left <= x <= right for top, left, bottom, right in still.things) == 1
    assert len(still.texts) == 0
    found = judged(excerpt)["still_things"]
    assert (found.value, found.shown) == (10, "3, and 7 hot pixels")


def test_nothing_is_still_in_an_even_background(excerpt_of):
    still = still_of(excerpt_of(camera(np.full((FRAMES, SIDE, SIDE), 20.0))))
    assert (len(still.hot_px), len(still.things), len(still.texts), still.covered) == (0, 0, 0, 0.0)
    short = excerpt_of(camera(np.full((10, SIDE, SIDE), 20.0)))
    assert find_still(find_background(short), short, Noise(2.0, None, None), 1.5) is None


def test_burnt_in_text_is_cut_off_by_the_region_advised(look):
    frames = camera(20 + light(walk(step=3.0)))
    frames[:, 88:93, 8:50] = 255  # a scale bar at the bottom
    frames[:, 4:10, 60:90] = 255  # a time stamp at the top
    found = look(frames)
    assert found.still.texts.tolist() == [[4, 60, 10, 90], [88, 8, 93, 50]]
    assert len(found.still.things) == 0
    assert found.suggestion.endswith(" --roi 0,10,96,78")
    given = look(frames, roi="0,12,96,70")
    assert given.height == 70
    assert re.findall(r"--roi \S+", given.suggestion) == ["--roi 0,12,96,70"]


def test_photon_noise_tells_the_gain(excerpt_of):
    level = np.linspace(20, 120, 192)[None, :] * np.ones((192, 1))
    electrons = 4.0  # a grey level
    rng = np.random.default_rng(2)
    frames = np.rint(rng.poisson(level * electrons, (40, 192, 192)) / electrons + rng.normal(scale=1.0, size=(40, 192, 192)))
    noise = measure_noise(excerpt_of(np.clip(frames, 0, 255).astype(np.uint8)), level.astype(np.float32))
    assert noise.sd_grey == pytest.approx(np.sqrt(70 / electrons + 1 + 1 / 12), rel=0.02)
    assert noise.slope == pytest.approx(1 / electrons, rel=0.05)
    assert noise.slope > 20 * noise.slope_sd


def test_noise_that_rounding_hides_and_a_background_cut_off_at_zero(excerpt_of):
    quiet = judged(excerpt_of(camera(20.3 + light(walk(n=2)), noise=0.3)))["noise_grey"]
    assert quiet.value == pytest.approx(np.sqrt(0.3**2 + 1 / 12), abs=0.06)
    assert quiet.verdict == LOOK
    cut = judged(excerpt_of(camera(light(walk(), peak=120), noise=4.0)))["zero_share"]
    assert cut.value == pytest.approx(0.5, abs=0.08)
    assert cut.verdict == BAD
    good = judged(excerpt_of(camera(20 + light(walk(n=2)))))
    assert (good["zero_share"].value, good["zero_share"].verdict) == (0.0, GOOD)
    assert good["noise_grey"].value == pytest.approx(np.sqrt(4 + 1 / 12), rel=0.04)


def test_uneven_light(excerpt_of):
    found = judged(excerpt_of(camera(np.linspace(20, 70, SIDE) + light(walk()))))["background_ratio"]
    assert found.value == pytest.approx(67.5 / 22.5, rel=0.05)  # 95 % of the field to 5 %
    assert found.verdict == LOOK
    assert judged(excerpt_of(camera(60 + light(walk()))))["background_ratio"].value == pytest.approx(1, abs=0.1)


# --- motion ---


def spots_at(places: np.ndarray) -> Spots:
    """Return spots at (n_frames, n, 2) places, as if found."""
    n_frames, n = places.shape[:2]
    rows = {name: np.ones(n_frames * n) for name in Spots.ROWS}
    rows |= {"frame": np.repeat(np.arange(n_frames, dtype=np.int32), n), "flags": np.zeros(n_frames * n, np.uint32)}
    rows |= {"x_px": places[..., 0].ravel(), "y_px": places[..., 1].ravel()}
    return Spots(**rows, background=np.zeros(n_frames), noise=np.ones(n_frames), area_px=float(SIDE**2))


def flow_of(places: np.ndarray) -> Flow:
    flow = find_flow(spots_at(places), np.arange(len(places) - 1), SIDE)
    assert flow is not None
    return flow


@pytest.mark.parametrize("drift", [(0.0, 0.0), (3.0, 0.0), (-1.2, 7.5), (-13.0, -9.0)])
def test_flow_and_step_are_those_of_the_walk(drift):
    flow = flow_of(walk(60, 40, step=1.5, flow=drift))
    assert flow.sd_px == pytest.approx(1.5 / np.sqrt(59 * 40), rel=0.25)  # who leaves the field is not seen again
    assert abs(flow.x_px - drift[0]) < 4 * flow.sd_px
    assert abs(flow.y_px - drift[1]) < 4 * flow.sd_px
    assert flow.step_px == pytest.approx(1.5, rel=0.05)
    assert flow.shake_px == 0.0


@pytest.mark.parametrize("size", [SIDE, SIDE + 1, SIDE + 2, SIDE + 3])
def test_displacements_are_looked_at_as_far_as_a_quarter_of_any_size(size):
    flow = find_flow(spots_at(walk(60, 40, step=1.5, flow=(3.0, 0.0))), np.arange(59), size)
    assert flow is not None
    assert flow.x_px == pytest.approx(3.0, abs=0.2)


def test_drift_of_3_px_a_frame_in_a_video(look):
    found = look(camera(20 + light(walk(step=0.5, flow=(3.0, 0.0)))))
    flow = finding(found, "flow_px")
    assert flow.value == pytest.approx(3.0, abs=0.1)
    assert flow.verdict == LOOK  # a step of diffusion is half a pixel
    assert flow.shown.endswith(" um/s")
    speed = float(flow.shown.split(", ")[1].split()[0])
    assert speed == pytest.approx(3.0 * PIXEL_SIZE_UM * FPS, rel=0.05)
    fast = finding(look(camera(20 + light(walk(step=0.5, flow=(8.0, 0.0))))), "flow_px")
    assert fast.value == pytest.approx(8.0, abs=0.1)
    assert fast.verdict == BAD  # 96 px in 12 frames


def test_a_still_background_does_not_hold_the_flow_at_zero(look):
    pattern = np.random.default_rng(8).normal(scale=12.0, size=(SIDE, SIDE))
    found = finding(look(camera(60 + pattern + light(walk(step=0.5, flow=(2.0, 1.0))))), "flow_px")
    assert found.value == pytest.approx(np.hypot(2.0, 1.0), abs=0.1)


def test_vibration_is_told_from_diffusion():
    calm = walk(64, 40, step=1.0)
    jitter = np.random.default_rng(4).normal(scale=0.5, size=(64, 1, 2))
    flow = flow_of(np.mod(calm + jitter, SIDE))
    # the place jumps by 0.5, the displacement between two frames by sqrt(2) times that
    jumps = np.diff(jitter[:, 0], axis=0)
    assert flow.shake_px == pytest.approx(np.sqrt(np.mean(jumps**2)), rel=0.06)
    assert flow.shake_px == pytest.approx(0.5 * np.sqrt(2), rel=0.3)
    assert flow_of(calm).shake_px == 0.0
    assert flow_of(calm).shake_least_px < 0.15
    slow = walk(64, 40, step=1.0, seed=3) + 0.02 * np.arange(64)[:, None, None] ** 1.5
    assert flow_of(np.mod(slow, SIDE)).shake_px == 0.0


def test_diffusion_is_hardly_ever_taken_for_vibration():
    taken = [flow_of(walk(64, 20, step=1.5, seed=seed)).shake_px > 0 for seed in range(30)]
    assert np.mean(taken) < 0.15  # 2 standard errors: 2 %


def test_no_flow_is_claimed_of_chance():
    chance = np.random.default_rng(6).uniform(0, SIDE, (40, 30, 2))
    assert find_flow(spots_at(chance), np.arange(39), SIDE) is None
    assert find_flow(spots_at(chance[:, :0]), np.arange(39), SIDE) is None


@pytest.mark.parametrize(("n", "step", "verdict"), [(3, 0.7, GOOD), (20, 1.2, LOOK), (50, 2.5, BAD)])
def test_share_of_wrong_links_is_how_often_a_stranger_is_nearer(excerpt_of, n, step, verdict):
    rng = np.random.default_rng(7)
    places = rng.uniform(0, SIDE, (400, 2, n, 2))  # two frames each of 400 samples
    places[:, 1] = places[:, 0] + rng.normal(scale=step, size=(400, n, 2))
    apart = np.hypot(*np.moveaxis(places[:, 1, None] - places[:, 0, :, None], -1, 0))
    nearest_other = np.where(np.eye(n, dtype=bool), np.inf, apart).min(axis=2)
    true = float(np.mean(nearest_other < np.diagonal(apart, axis1=1, axis2=2)))
    spots = replace(spots_at(places.reshape(800, n, 2)), chosen={"threshold_snr": Used(4.5, "measured")})
    flow = find_flow(spots, np.arange(0, 800, 2), SIDE)
    share = judged(excerpt_of(np.zeros((4, SIDE, SIDE), np.uint8)), spots, flow)["wrong_link_share"]
    assert share.value == pytest.approx(true, rel=0.2, abs=0.002)
    assert share.verdict == verdict


# --- little to see ---


def test_a_video_without_particles(look):
    found = look(camera(np.full((FRAMES, SIDE, SIDE), 20.0)))
    assert finding(found, "spots_per_frame").value < 0.5
    assert finding(found, "spots_per_frame").verdict == BAD
    for name in ("wrong_link_share", "snr", "saturated_share", "spot_width_px", "wide_share", "flow_px", "shake_px"):
        assert (finding(found, name).value, finding(found, name).verdict) == (None, UNKNOWN), name
    assert finding(found, "noise_grey").value == pytest.approx(2.0, rel=0.05)
    preview.draw(found)


@pytest.mark.parametrize("level", [0, 255])
def test_a_video_of_one_grey(look, level):
    found = look(np.full((30, SIDE, SIDE), level, np.uint8))
    assert finding(found, "spots_per_frame").value == 0
    assert finding(found, "spots_per_frame").meaning == "none found; are they dark? (--polarity)"
    assert finding(found, "repeated_frames").value == 29
    preview.draw(found)


def test_a_video_of_two_frames(look):
    found = look(camera(20 + light(walk(2, 20, step=0.8))))
    assert (found.n_frames, found.sampled) == (2, 2)
    assert "short_video" in [notice.code for notice in found.notices]
    assert 11 < finding(found, "spots_per_frame").value < 20
    assert finding(found, "wrong_link_share").verdict in (GOOD, LOOK, BAD)
    assert finding(found, "repeated_frames").shown == "0 of 1"
    for name in ("flicker", "shake_px", "background_ratio", "still_things"):
        assert (finding(found, name).value, finding(found, name).verdict) == (None, UNKNOWN), name
    preview.draw(found)


def test_floating_point_pixels(tmp_path):
    frames = (0.2 + light(walk()) / 300 + np.random.default_rng(0).normal(scale=0.01, size=(FRAMES, SIDE, SIDE))).astype(np.float32)
    tifffile.imwrite(tmp_path / "float.tif", frames, imagej=True, metadata={"axes": "TYX"})
    found = inspect(tmp_path / "float.tif", threads=1)
    assert finding(found, "spots_per_frame").value == pytest.approx(8, abs=1.5)
    for name in ("saturated_share", "zero_share"):
        assert finding(found, name).verdict == UNKNOWN
    assert finding(found, "noise_grey").verdict == GOOD
    preview.draw(found)


# --- what the file says, and the command that follows ---


def test_what_the_file_says_and_where(look):
    found = look(camera(20 + light(walk())))
    values = {knob: known.used for knob, known in found.calibration.items()}
    assert list(values) == list(CALIBRATION)
    assert [values[knob].value for knob in CALIBRATION] == pytest.approx([PIXEL_SIZE_UM, FPS, EXPOSURE_MS, TEMPERATURE_C])
    assert {used.source for used in values.values()} == {"file"}
    assert values["temperature_c"].sd == 0.3
    assert found.calibration["fps"].where == "ImageJ finterval"
    assert found.length_s == pytest.approx(FRAMES / FPS)
    assert (found.kind, found.dtype, found.height, found.width) == ("TIFF", "uint8", SIDE, SIDE)
    assert found.summary()["missing"] == []
    assert re.fullmatch(r"nta analyze \S+/video.tif", found.suggestion)


def test_nothing_is_made_up_where_the_file_says_nothing(look):
    found = look(camera(20 + light(walk(step=0.5, flow=(2, 0)))), calibrated=False)
    assert set(found.calibration.values()) == {None}
    assert found.length_s is None
    assert found.suggestion.endswith(" --pixel-size-um ? --fps ? --exposure-ms ? --temperature-c ?")
    assert finding(found, "flow_px").value == pytest.approx(2, abs=0.1)
    assert "um" not in "".join(f.shown for f in found.findings)
    summary = found.summary()
    assert summary["missing"] == ["--pixel-size-um", "--fps", "--exposure-ms", "--temperature-c"]
    assert set(summary["calibration"].values()) == {None}


def test_an_unknown_frame_rate_makes_no_exposure_too_long(look):
    found = look(camera(20 + light(walk())), calibrated=False, exposure_ms=90000)
    assert found.value("exposure_ms") == pytest.approx(90000)
    assert found.calibration["exposure_ms"].where == "--exposure-ms"


def test_options_given_are_in_the_command_once(look):
    found = look(camera(20 + light(walk())), calibrated=False, pixel_size_um=0.25, fps=30, polarity="bright", frames="5:30", medium="water")
    command = found.suggestion.split(" ", 3)[3]
    assert command == "--pixel-size-um 0.25 --fps 30 --exposure-ms ? --polarity bright --frames 5:30 --temperature-c ? --medium water"
    assert found.n_frames == 25


def test_the_command_is_taken_by_a_shell(tmp_path, write_video):
    path = write_video(tmp_path / "day 1; rm *.tif", camera(20 + light(walk(30))))
    assert inspect(path, threads=1).suggestion == f"nta analyze '{path}'"


def test_dark_particles(look):
    frames = camera(150 - light(walk()))
    found = look(frames)
    assert found.polarity == "dark"
    assert found.suggestion.endswith(".tif --polarity dark")
    assert finding(found, "spots_per_frame").value == pytest.approx(8, abs=1.5)
    assert look(frames, polarity="dark").suggestion.count("--polarity dark") == 1


def test_frames_with_the_light_off_are_left_out(look):
    frames = 60 + light(walk())
    frames[:4] *= 0.05
    frames[29:] *= 0.05
    assert look(camera(frames)).suggestion.endswith(" --frames 4:29")


@pytest.mark.parametrize(("seen_in", "advised"), [((1, 0, 0), "r"), ((0.9, 1.0, 0.9), None)])
def test_the_colour_that_shows_particles_best_is_advised(tmp_path, seen_in, advised):
    spots = light(walk(40))
    colours = np.stack([camera(40 + 10 * k + share * spots, seed=k) for k, share in enumerate(seen_in)], axis=-1)
    tifffile.imwrite(tmp_path / "colour.tif", colours, photometric="rgb")
    found = inspect(tmp_path / "colour.tif", threads=1)
    assert "colour" in [notice.code for notice in found.notices]
    assert re.findall(r"--channel (\w)", found.suggestion) == ([advised] if advised else [])


def test_what_cannot_be_opened_is_refused_as_by_analyze(tmp_path, write_video):
    with pytest.raises(UsageError, match=r"nowhere\.tif: no such file or folder"):
        inspect(tmp_path / "nowhere.tif")
    (tmp_path / "empty.tif").touch()
    with pytest.raises(VideoError, match=r"the file is empty \(0 bytes\)"):
        inspect(tmp_path / "empty.tif")
    path = write_video(tmp_path / "short.tif", camera(20 + light(walk(30))))
    with pytest.raises(UsageError, match=r"^--frames 28:29: keeps 1 frames"):
        inspect(path, frames="28:29")
    with pytest.raises(UsageError, match=r"unknown setting 'pixel_size'; did you mean 'pixel_size_um'"):
        inspect(path, pixel_size=1)


def test_threads_change_nothing(look, tmp_path):
    one = look(camera(20 + light(walk(30))))
    assert inspect(tmp_path / "video.tif", threads=3).summary() == one.summary()


# --- the excerpt ---


@pytest.mark.parametrize("n_frames", [2, 40, 64, 65, 128, 500])
def test_an_excerpt_is_all_of_a_short_video_and_pairs_of_a_long_one(excerpt_of, n_frames):
    frames = np.zeros((n_frames, 32, 32), np.uint8)
    frames[:, 0, 0] = np.arange(n_frames) % 251
    excerpt = excerpt_of(frames)
    if n_frames <= 64:
        assert excerpt.numbers.tolist() == list(range(n_frames))
        assert excerpt.pairs.tolist() == list(range(n_frames - 1))
    else:
        assert 60 <= excerpt.n_frames <= 64
        assert len(excerpt.pairs) >= MOST_PAIRS
    assert (excerpt.numbers[0], excerpt.numbers[-1]) == (0, n_frames - 1)
    assert np.all(excerpt.numbers[excerpt.pairs + 1] == excerpt.numbers[excerpt.pairs] + 1)
    for _ in range(2):  # once from the file, once from memory
        assert [int(excerpt.read(i)[0, 0]) for i in range(excerpt.n_frames)] == (excerpt.numbers % 251).tolist()


def test_large_frames_make_a_short_excerpt(excerpt_of):
    assert 2 * MOST_PAIRS * 640 * 480 < EXCERPT_PX < 2 * MOST_PAIRS * 1024 * 1024
    assert len(excerpt_of(np.zeros((60, 1200, 1000), np.uint8)).pairs) == FEWEST_PAIRS


def test_a_long_video_is_judged_by_its_excerpt(excerpt_of, monkeypatch):
    monkeypatch.setattr("nta.footage.WHOLE_PX", 100 * 32 * 32)
    frames = np.random.default_rng(0).integers(10, 30, (200, 32, 32), np.uint8)
    frames[4:8] = frames[3]
    excerpt = excerpt_of(frames)
    seen = measure_light(excerpt)
    assert len(seen.frame) == 64
    assert seen.followers == len(excerpt.pairs) == 32
    seen = measure_light(excerpt_of(frames[:100]))
    assert (len(seen.frame), seen.followers, seen.repeated) == (100, 99, 4)


# --- the picture ---


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Inspection:
    return inspect(write_video(tmp_path_factory.mktemp("found") / "found.tif", camera(20 + light(walk()))), threads=1)


def test_the_picture_is_a_png_of_180_mm_with_our_mark(found, tmp_path):
    path = tmp_path / "deep" / "found_inspect.png"
    preview.write(found, path)
    with Image.open(path) as image:
        assert image.width == pytest.approx(180 / 25.4 * 300, abs=1)
        assert image.info["Software"].startswith("nta ")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == preview.render(found)


def test_the_picture_shows_a_ring_for_each_particle_and_a_bar_in_um(found):
    figure = preview.draw(found)
    frame, closer = figure.axes[:2]
    first = found.spots.frame == 0
    assert len(frame.collections[0].get_offsets()) == np.sum(first)
    assert 0 < len(closer.collections[0].get_offsets()) <= np.sum(first)
    assert [text.get_text() for text in frame.texts] == ["2 \N{GREEK SMALL LETTER MU}m"]  # a fifth of 96 px of 0.25 um is 4.8 um
    bar = frame.lines[-1].get_xdata()
    assert bar[1] - bar[0] == pytest.approx(2 / PIXEL_SIZE_UM)
    bare = preview.draw(replace(found, calibration=dict.fromkeys(CALIBRATION)))
    assert [text.get_text() for text in bare.axes[0].texts] == ["10 px"]


@pytest.mark.parametrize("shape", [(40, 400), (400, 40), (300, 300)])
def test_the_picture_has_room_for_any_frame(found, shape):
    blank = np.zeros(shape, np.float32)
    odd = replace(found, frame=blank, cleaned=blank, still=None, height=shape[0], width=shape[1])
    figure = preview.draw(odd)
    for ax in figure.axes:
        box = ax.get_position()
        assert (box.x0 >= 0, box.y0 >= 0, box.x1 <= 1, box.y1 <= 1) == (True,) * 4


def test_a_picture_that_is_not_ours_is_left_alone(found, tmp_path):
    ours, theirs, text, folder = (tmp_path / name for name in ("ours.png", "theirs.png", "text.png", "folder.png"))
    preview.write(found, ours)
    preview.check_place(ours)
    preview.check_place(tmp_path / "nothing.png")
    Image.new("L", (4, 4)).save(theirs)
    text.write_text("notes")
    folder.mkdir()
    for path in (theirs, text, folder):
        with pytest.raises(UsageError, match=r"was not written by nta and is left alone; give another -o$"):
            preview.check_place(path)


# --- the command line ---


def nta(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture
def videos(in_tmp_path: Path, write_video: Callable[..., Path]) -> list[str]:
    """Return two small videos, of which the second says nothing of itself."""
    frames = camera(20 + light(walk(30)))
    Path("b").mkdir()
    return [str(write_video(Path("a.tif"), frames)), str(write_video(Path("b/b.tif"), frames, calibrated=False))]


def test_command_line_of_one_video(videos):
    run = nta("inspect", videos[1])
    assert run.exit_code == 0
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert lines[0] == "b  TIFF, 30 frames, 96 x 96 px, uint8"
    assert lines[2].split(maxsplit=3) == ["pixel", "size", "?", "give --pixel-size-um (not in the file; sizes need it)"]
    assert len([line for line in lines if re.search(r"  (good|look|bad|-)  ", line + "  ")]) == len(NAMES)
    assert lines[-4:] == [
        "to analyse it:",
        "  nta analyze b/b.tif --pixel-size-um ? --fps ? --exposure-ms ? --temperature-c ?",
        "",
        f"picture  {Path('nta_results/b_inspect.png')}",
    ]
    assert run.stdout.isascii()
    assert max(map(len, lines)) <= 100
    assert [p.name for p in Path("nta_results").iterdir()] == ["b_inspect.png"]
    assert nta("inspect", videos[1], "-q").stdout == ""  # over its own picture


def test_command_line_as_json(videos):
    run = nta("inspect", *videos, "--json", "--no-figure", "--polarity", "bright")
    assert run.exit_code == 0
    one, two = map(json.loads, run.stdout.splitlines())
    assert one["schema"] == "nta-inspect/1"
    assert [v["input"]["path"] for v in (one, two)] == videos
    assert one["calibration"]["fps"] == {"value": 30.0, "source": "file", "sd": 0.0, "where": "ImageJ finterval"}
    assert two["calibration"]["fps"] is None
    assert list(one["quality"]) == NAMES
    assert one["suggestion"] == "nta analyze a.tif --polarity bright"
    assert one["picture"] is None
    assert not Path("nta_results").exists()


def test_command_line_follows_a_protocol(videos):
    Path("sop.toml").write_text("[video]\npixel_size_um = 0.3\n[tracks]\nmin_frames = 8\n")
    found = json.loads(nta("inspect", videos[1], "--sop", "sop.toml", "--no-figure", "--json").stdout)
    assert found["calibration"]["pixel_size_um"]["source"] == "sop"
    assert "--pixel-size-um 0.3 " in found["suggestion"]
    assert "--min-frames 8" in found["suggestion"]


def test_several_videos_one_failing_does_not_lose_the_others(videos):
    Path("corrupt.tif").write_bytes(b"II*\0nothing more")
    run = nta("inspect", videos[0], "corrupt.tif", "missing.tif", videos[1], "-o", "out")
    assert run.exit_code == SOME_FAILED
    assert re.search(r"^nta: error: corrupt\.tif: ", run.stderr, re.MULTILINE)
    assert "nta: error: missing.tif: no such file or folder" in run.stderr
    assert {p.name for p in Path("out").iterdir()} == {"a_inspect.png", "b_inspect.png"}
    assert nta("inspect", "corrupt.tif").exit_code == DATA
    assert nta("inspect", "missing.tif").exit_code == USAGE


def test_pictures_do_not_replace_what_is_not_theirs(videos):
    Path("b/a.tif").write_bytes(Path("a.tif").read_bytes())
    run = nta("inspect", "a.tif", "b/a.tif")
    assert run.exit_code == USAGE
    assert "would both be named 'a'" in run.stderr
    Path("nta_results").mkdir()
    Path("nta_results/a_inspect.png").write_text("mine")
    run = nta("inspect", "a.tif")
    assert run.exit_code == USAGE
    assert run.stderr == f"nta: error: {Path('nta_results/a_inspect.png')} was not written by nta and is left alone; give another -o\n"
    assert Path("nta_results/a_inspect.png").read_text() == "mine"
    Path("file").write_text("")
    assert re.search(r"cannot be written .*give another -o", nta("inspect", "a.tif", "-o", "file").stderr)


def test_a_warning_names_its_video_among_several(videos):
    short = nta("inspect", videos[0], "--frames", "0:9", "--no-figure", "-q")
    assert short.stderr.startswith("nta: warning: only 9 frames")
    several = nta("inspect", *videos, "--frames", "0:9", "--no-figure", "-q")
    assert [line.split(": only")[0] for line in several.stderr.splitlines()] == [f"nta: warning: {v}" for v in videos]


def test_every_figure_and_key_is_documented(found):
    page = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    part = page.split("\n## Inspections\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \| .*\| .*\| .* \|$", part, re.MULTILINE) == NAMES
    for key in (*found.summary(), "picture", *found.summary()["input"], "shown", "meaning"):
        assert f"`{key}`" in part, key
