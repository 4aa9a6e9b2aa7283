"""Video -> Excerpt: pairs of consecutive frames spread over it, as a video of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from nta.video import Video

MOST_PAIRS, FEWEST_PAIRS = 32, 12  # 12 pairs are the 20 frames and more that a still background asks for
EXCERPT_PX = 24_000_000  # a search of so many pixels takes a few seconds
HELD_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Excerpt(Video):
    """Some frames of a video, read like a video; the whole of it where it is short.

    Attributes
    ----------
    whole : the video that this is an excerpt of
    numbers : (n_frames,) int64, which of its frames
    """

    whole: Video = field(kw_only=True)
    numbers: np.ndarray = field(kw_only=True)
    _held: dict[int, np.ndarray] = field(default_factory=dict, repr=False, kw_only=True)

    @property
    def pairs(self) -> np.ndarray:
        """(n,) int64: frames `i` of the excerpt whose next, ``i + 1``, is the next of the video too."""
        return np.flatnonzero(np.diff(self.numbers) == 1)

    def read(self, i: int) -> np.ndarray:
        """Return frame `i` of the excerpt, as `Video.read`; frames are held up to 64 MB, so that each is decoded once."""
        frame = self._held.get(i)
        if frame is None:
            frame = self.whole.read(int(self.numbers[i]))
            if (len(self._held) + 1) * frame.nbytes <= HELD_BYTES:
                self._held[i] = frame
        return frame


def take_excerpt(video: Video) -> Excerpt:
    """Choose up to 32 pairs of consecutive frames, evenly spread; fewer, but at least 12, where frames are large."""
    pairs = int(np.clip(EXCERPT_PX // (2 * video.height * video.width), FEWEST_PAIRS, MOST_PAIRS))
    if video.n_frames <= 2 * pairs:
        numbers = np.arange(video.n_frames)
    else:
        first = np.linspace(0, video.n_frames - 2, pairs).round().astype(np.int64)
        numbers = np.union1d(first, first + 1)
    same = {f.name: getattr(video, f.name) for f in fields(video)}
    return Excerpt(**same | {"n_frames": len(numbers)}, whole=video, numbers=numbers)
