"""Numba kernels: arrays and scalars in and out, one signature each. The only package that imports numba at module top."""

from __future__ import annotations

from typing import Any

JIT: dict[str, Any] = {"nopython": True, "nogil": True, "cache": True}
"""Options of every kernel: cached on disk, callable from threads; no ``parallel`` and no ``fastmath`` (same bytes everywhere)."""
