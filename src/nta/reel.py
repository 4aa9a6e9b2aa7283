"""AVI, MOV, MP4, MKV or WMV file -> Reel: the frames that FFmpeg's decoder gives, from any place in the file on."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nta.clock import Clock
from nta.errors import Notice, VideoError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_KINDS = {"avi": "AVI", "mov": "MOV or MP4", "matroska": "MKV", "asf": "WMV"}  # FFmpeg's names and ours
_READABLE = "give an AVI, MOV, MP4, MKV or WMV file, a TIFF stack, or a folder of images"

logging.getLogger("libav").addHandler(logging.NullHandler())  # FFmpeg's complaints become our errors and notices; stderr stays clean


class Reel:
    """A video file and the decoder that stands somewhere in it. Not thread-safe.

    Parameters
    ----------
    log : FFmpeg's complaints of this thread land here while `av.logging.Capture` is at work

    Attributes
    ----------
    notices : what the user should know of what was chosen
    cut : whether the data ended before they should, as far as was read
    n_left_out : packets that could not be decoded at all
    complaints : numbers of the frames at which FFmpeg complained, counted since the file was opened

    Raises
    ------
    VideoError
        When the file is none of these formats, holds no video, or video without a decoder.
    """

    def __init__(self, path: Path, log: list[Any]) -> None:
        import av

        if av.logging.get_level() is None:  # nobody else in this process listens to FFmpeg
            av.logging.set_level(av.logging.ERROR)
            av.logging.set_skip_repeated(False)
        self.path = path
        self.notices: list[Notice] = []
        self.cut = False
        self.n_left_out = 0
        self.complaints: list[int] = []
        self._log = log
        self._given = 0
        # a text file with the name of a film may be a list of files and addresses, which FFmpeg would open
        only = {"format_whitelist": ",".join(_KINDS), "protocol_whitelist": "file"}
        try:
            self._file: InputContainer = av.open(f"file:{os.fspath(path)}", mode="r", options=only, metadata_errors="replace")
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise VideoError(f"{path}: {_why_not(path, error, log)}; {_READABLE}") from None
        try:
            self._stream = self._pick_stream()
            self._timed = self.kind != "AVI" or _avi_has_rate(path)
        except BaseException:
            self._file.close()
            raise

    def _pick_stream(self) -> VideoStream:
        from av.stream import Disposition

        streams = [s for s in self._file.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            kinds = ", ".join(sorted({str(s.type) for s in self._file.streams}))
            raise VideoError(f"{self.path}: the file holds no video{f' ({kinds} only)' if kinds else ''}; {_READABLE}")
        if len(streams) > 1:
            text = f"the file holds {len(streams)} video streams; the first is analysed"
            self.notices.append(Notice("several_streams", text))
        if streams[0].codec_context is None:
            raise VideoError(f"{self.path}: there is no decoder for its video; export it as FFV1, uncompressed AVI or a TIFF stack")
        # with one thread, complaints come with the frame they are about, and what stands in for damage does not depend on timing
        streams[0].codec_context.thread_count = 1
        return streams[0]

    @property
    def kind(self) -> str:
        """Name of the file's format."""
        return _KINDS[self._file.format.name.split(",")[0]]

    @property
    def codec(self) -> str:
        """FFmpeg's name of the compression."""
        return str(self._stream.codec_context.codec.canonical_name)

    @property
    def lossless(self) -> bool:
        """Whether the codec has no lossy way to compress; h264, which has both, counts as lossy."""
        codec = self._stream.codec_context.codec
        return codec.lossless and not codec.lossy

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height; 0 where the file does not say."""
        return Fraction(self._stream.sample_aspect_ratio or 0)

    @property
    def declared_rate(self) -> Fraction:
        """Frames per second that the header says; 0 where it does not."""
        return Fraction(self._stream.average_rate or 0) if self._timed else Fraction(0)

    @property
    def tick_s(self) -> Fraction:
        """The unit of time stamps; 0 where there are none."""
        return Fraction(self._stream.time_base or 0) if self._timed else Fraction(0)

    def announced(self, clock: Clock) -> int:
        """Return how many frames the header says there are, or its length where it has no number; 0: no more than were found.

        For after a run through the file. The number in an AVI's header includes packets without data, which show as gaps.
        """
        from av import time_base

        if listed := int(self._stream.frames):
            return listed if listed > self._given + clock.n_dropped else 0
        if not clock.typical or clock.last is None:
            return 0
        length_s = Fraction(self._stream.duration or 0) * self.tick_s
        if not length_s and len(self._file.streams) == 1:
            length_s = Fraction(self._file.duration or 0) / time_base
        interval_s = Fraction(clock.typical) * self.tick_s
        missing = (length_s - (clock.last - (self._stream.start_time or 0)) * self.tick_s) / interval_s - 1
        return self._given + round(missing) if missing > 1.5 else 0  # a length is rounded, and the last frame may be shown for longer

    def frames(self) -> Iterator[VideoFrame]:
        """Yield frames from here to the end, in the order of display, passing over what cannot be decoded."""
        import av

        packets = self._file.demux(self._stream)
        while True:
            heard = len(self._log)
            try:
                packet = next(packets)
            except av.FFmpegError:  # the data end, though the file's index says they go on
                self.cut = True
                yield from self._decode(None)
                return
            complained = len(self._log) > heard
            if packet.size == 0 and packet.dts is None:  # the end
                self.cut = self.cut or complained
                yield from self._decode(None)
                return
            if packet.is_corrupt:  # the data end in its middle
                self.cut = True
            elif packet.size:
                if complained:
                    self.complaints.append(self._given)
                yield from self._decode(packet)

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        import av

        heard = len(self._log)
        try:
            frames = self._stream.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError:
            self.n_left_out += packet is not None
            return []
        if len(self._log) > heard:
            self.complaints.append(self._given)
        self._given += len(frames)
        return frames

    def seek(self, stamp: int) -> bool:
        """Go to where the frame of a time stamp, in ticks, can be decoded from; False where the file cannot be sought in."""
        import av

        try:
            self._file.seek(stamp, stream=self._stream)
        except av.FFmpegError:
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _avi_has_rate(path: Path) -> bool:
    """Tell whether an AVI states its frame rate; where it does not, FFmpeg makes one up."""
    with path.open("rb") as file:
        head = file.read(2**16)
    stream = re.search(rb"strh.{4}vids.{16}(.{4})(.{4})", head, re.DOTALL)  # its time scale and rate
    whole = re.search(rb"avih.{4}(.{4})", head, re.DOTALL)  # microseconds a frame
    return stream is None or all(map(any, stream.groups())) or (whole is not None and any(whole[1]))


def _why_not(path: Path, error: Exception, log: list[Any]) -> str:
    """Say why a file cannot be opened."""
    said = [str(entry[2]).strip() for entry in log]
    with path.open("rb") as file:
        is_movie = file.read(8)[4:] in (b"ftyp", b"mdat", b"wide", b"free", b"skip")
    if is_movie and any("moov atom not found" in text for text in said):
        return "the file is cut short, or its recording was not finished: its index (moov) is missing"
    reason = said[-1] if said else str(getattr(error, "strerror", None) or type(error).__name__)
    return f"not a readable AVI, MOV, MP4, MKV or WMV file ({reason.splitlines()[0][:120]})"
