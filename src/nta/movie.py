"""AVI, MOV, MP4, MKV or WMV file -> its frames, one by one: counted by decoding, and the same in whatever order they are read."""

from __future__ import annotations

import threading
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nta.clock import Clock
from nta.errors import Notice, VideoError
from nta.metadata import FileSays, Listener, merge
from nta.nano import read_nano
from nta.picture import Picture
from nta.reel import Reel
from nta.tiff import FEWEST_WHOLE_FRAMES

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

HELD_BYTES, HELD_FRAMES = 2**25, 64  # of frames that were passed on the way to another one
FORWARD_FRAMES = 8  # so near, decoding on costs less than a seek, and keeps what threads ask for out of order
COLOUR_EVERY = 32  # frames between two looks at the colours
OVERSHOOT = 10 / 255  # of the range, by which lossy compression may ring beyond white
UNKNOWN = -1


class Movie:
    """A video file as a sequence of frames; see `nta.container.Container` for the attributes.

    A first run decodes everything, since no container's word on its number of frames, its rate or its index can be trusted. It notes
    each frame's time stamp and checksum, and which are key frames; `read` then seeks, and the checksum proves that it found the frame.

    Frames are numbered as they come out of the decoder, in the order of display. A packet without data, by which AVI says "the last
    frame again", is no frame; it shows as a gap in the time stamps.

    Parameters
    ----------
    path : file to open
    channel : ``r``, ``g`` or ``b``: YUV video is converted to it

    Raises
    ------
    VideoError
        When the file is no video, is cut so short that fewer than 20 frames are whole, has one frame, or pixels of a kind not read.
    """

    def __init__(self, path: Path, channel: str | None = None) -> None:
        self.path = path
        self.files: tuple[Path, ...] = (path,)
        self.channel_used = False
        self.inverted = False
        self.notices: tuple[Notice, ...] = ()
        self._lock = threading.Lock()
        self._pts: list[int | None] = []
        self._sums: list[int] = []
        self._starts = [0]  # frames that decoding can start from
        self._held: dict[int, np.ndarray] = {}
        self._next = UNKNOWN  # the frame that `_frames` gives next
        self._frames: Iterator[VideoFrame] = iter(())
        self._reel: Reel | None = None
        try:
            self._run_through(channel)
        except BaseException:
            self.close()
            raise

    def _run_through(self, channel: str | None) -> None:
        """Decode every frame once: how many there are, what they are like, and how each is found again."""
        import av

        picture, damaged, n_interlaced = None, set(), 0
        with av.logging.Capture() as complaints:
            self._reel = reel = Reel(self.path, complaints)
            for frame in reel.frames():
                number = len(self._pts)
                if picture is None:
                    picture = Picture(frame, channel, self.path)
                if not picture.fits(frame):
                    raise VideoError(f"{self.path}: frame {number} is {Picture.describe(frame)}, the first is {picture}; export one kind")
                pixels = picture.pixels(frame)
                picture.look_at(frame, pixels, colours=number % COLOUR_EVERY == 0)
                if frame.key_frame and number:
                    self._starts.append(number)
                if frame.is_corrupt:
                    damaged.add(number)
                n_interlaced += frame.interlaced_frame
                self._pts.append(frame.pts)
                self._sums.append(zlib.adler32(pixels.data))
        if picture is None:
            raise VideoError(f"{self.path}: no frame of its {reel.codec} video can be decoded; copy or export the file again")
        self.n_frames = len(self._pts)
        self._picture, self.shape, self.dtype, self.channel_used = picture, picture.shape, picture.dtype, picture.channel_used
        self.ceiling = picture.ceiling(0.0 if reel.lossless else OVERSHOOT)
        self._room = min(HELD_FRAMES, HELD_BYTES // (int(np.prod(self.shape)) * self.dtype.itemsize))

        stamps = [p for p in self._pts if p is not None]
        if len(stamps) < self.n_frames or any(a >= b for a, b in pairwise(stamps)):
            stamps, self._starts = [], [0]
        self._numbers = {stamp: number for number, stamp in enumerate(stamps)}
        clock = Clock(stamps, reel.tick_s)
        damaged |= {min(n, self.n_frames - 1) for n in reel.complaints}
        self._check_whole(reel, reel.announced(clock))
        self._tell(reel, clock, sorted(damaged), n_interlaced)
        beside = read_nano(self.path)
        # the rate at capture leaves nothing to the rate of playback
        own = _frame_rate(reel, clock) if beside is None or "fps" not in beside.values else FileSays()
        self.says = own if beside is None else merge(beside, own)

    def _check_whole(self, reel: Reel, announced: int) -> None:
        """Tell of a file whose frames end before its header says, or before its data should."""
        if announced or reel.cut:
            loss = "the file is cut short" if reel.cut else "the file ends before its header says"
            count = f"{self.n_frames} of {announced}" if announced else f"the first {self.n_frames}"
            if self.n_frames < FEWEST_WHOLE_FRAMES:
                why = f"at least {FEWEST_WHOLE_FRAMES} are needed; copy the file again"
                raise VideoError(f"{self.path}: {loss}: {count} frames are whole, {why}")
            self.notices += (Notice("truncated", f"{loss}: {count} frames are whole; the rest is missing and left out"),)
        if self.n_frames < 2:
            raise VideoError(f"{self.path}: one frame only; a video needs at least 2")

    def _tell(self, reel: Reel, clock: Clock, damaged: list[int], n_interlaced: int) -> None:
        """Set down what else the user should know."""
        found = list(reel.notices)
        if not reel.lossless:
            text = f"{reel.codec} compresses with loss: positions and sizes can shift; record uncompressed or losslessly, as FFV1 does"
            found.append(Notice("lossy_video", text))
        if damaged or reel.n_left_out:
            used = [f"damaged frames: {len(damaged)} (the first: {damaged[0]}), analysed as they were decoded"] if damaged else []
            lost = [f"frames that cannot be decoded: {reel.n_left_out}, left out"] if reel.n_left_out else []
            found.append(Notice("damaged_frames", "; ".join(used + lost)))
        if n_interlaced:
            text = f"{n_interlaced} frames are interlaced: odd and even rows were taken half a frame apart; record progressively"
            found.append(Notice("interlaced", text))
        if reel.pixel_aspect not in (0, 1):
            text = f"the file calls its pixels {float(reel.pixel_aspect):g} times as wide as high; they are analysed as stored, as squares"
            found.append(Notice("non_square_pixels", text))
        if self._picture.coloured:
            text = "the video's colours differ by more than noise; their luminance is analysed (--channel r, g or b picks one)"
            found.append(Notice("colour", text))
        self.notices += (*found, *clock.notices())

    def read(self, frame: int) -> np.ndarray:
        """Return frame number `frame`: (height, width) or (height, width, 3), native byte order. Thread-safe.

        It is what the first run through the file saw, or an error.
        """
        with self._lock:
            if self._reel is None:
                raise ValueError("the file is closed")
            if (held := self._held.pop(frame, None)) is not None:
                return held
            at = bisect_right(self._starts, frame) - 1
            ahead = frame - self._next
            on_the_way = self._next != UNKNOWN and ahead >= 0 and (ahead < FORWARD_FRAMES or self._starts[at] <= self._next)
            if on_the_way and (found := self._run_to(frame)) is not None:
                return found
            # where the file's stamps are those of decoding, not of display, a seek lands beyond its frame: hence the starts before
            for start in reversed(self._starts[max(1, at - 2) : at + 1]):
                if self._seek(start) and (found := self._run_to(frame)) is not None:
                    return found
            if at > 0:
                self._starts = [0]  # seeking does not lead anywhere in this file
            self._rewind()
            if (found := self._run_to(frame)) is not None:
                return found
            raise VideoError(f"{self.path}: frame {frame} (the first is 0) is not the same when decoded again; copy the file again")

    def _run_to(self, frame: int) -> np.ndarray | None:
        """Decode up to `frame`; None where it does not come or is not the same. What lies just before it is held for other threads."""
        for decoded in self._frames:
            if self._next == UNKNOWN and decoded.pts is not None:
                self._next = self._numbers.get(decoded.pts, UNKNOWN)
            if self._next == UNKNOWN:
                continue
            number, self._next = self._next, self._next + 1
            if frame - number > self._room:
                continue
            pixels = self._picture.pixels(decoded)
            same = number <= frame and zlib.adler32(pixels.data) == self._sums[number]
            if number >= frame:
                if same:
                    return self._picture.collapsed(pixels)
                break
            if same:
                self._hold(number, self._picture.collapsed(pixels))
        self._next = UNKNOWN
        self._frames = iter(())
        return None

    def _hold(self, number: int, pixels: np.ndarray) -> None:
        self._held.pop(number, None)
        self._held[number] = pixels
        while len(self._held) > self._room:
            del self._held[next(iter(self._held))]

    def _seek(self, start: int) -> bool:
        """Go to a key frame; where that led, the next frame's stamp tells."""
        stamp = self._pts[start]
        if self._reel is None or stamp is None or not self._reel.seek(stamp):
            return False
        self._frames, self._next = self._reel.frames(), UNKNOWN
        return True

    def _rewind(self) -> None:
        """Open the file again, since not every file can be sought to its first frame."""
        if self._reel is not None:
            self._reel.close()
        self._reel = Reel(self.path, [])
        self._frames, self._next = self._reel.frames(), 0

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._held.clear()
            self._frames = iter(())
            if self._reel is not None:
                self._reel.close()
                self._reel = None


def _frame_rate(reel: Reel, clock: Clock) -> FileSays:
    """Return the rate of playback, which need not be the camera's: the header's, unless the time stamps know better."""
    rate = float(reel.declared_rate)
    where, given = f"{reel.kind} frame rate", f"{rate:g}"
    if clock.rate_hz and abs(rate / clock.rate_hz - 1) > 0.01:
        rate = clock.rate_hz
        where, given = f"{reel.kind} time stamps", f"{rate:g} frames per second"
    caveat = f"the frame rate {rate:g} is the file's playback rate ({where}); give --fps if the camera's was another"
    heard = Listener()
    heard.hear("fps", rate, where, given, caveat)
    return heard.says()
