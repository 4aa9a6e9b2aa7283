"""Numba kernels: arrays and scalars in and out, one signature each. The only package that imports numba at module top."""

from __future__ import annotations

from typing import Any

from numba import uint64

from nta.kernels.cache import FOLDER

JIT: dict[str, Any] = {"nopython": True, "nogil": True, "cache": FOLDER is not None, "error_model": "numpy"}
"""Options of every kernel: cached on disk, callable from threads; no ``parallel`` and no ``fastmath`` (same bytes everywhere). Divisions
are not checked for zero, which would keep loops from being vectorised."""

INNER: dict[str, Any] = {**JIT, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of a kernel that only other kernels call: less to compile."""

PART: dict[str, Any] = {**JIT, "inline": "always"}
"""Options of a kernel that is but a part of one other, and compiled as such; by itself only when it is called so, as tests do."""

LANES = 16
"""Pixels that go at a time where their number is known when compiled; a row of a window is shorter than what loops are cut into else."""

unsigned: Any = uint64
"""Type of an index that is not negative, which numba need not look at again; rows of windows go three times as fast."""
