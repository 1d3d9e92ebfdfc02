"""Garbage collection and freed memory of long-running processes."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_ARENA_MAX: Final = -8
"""`M_ARENA_MAX` of glibc's malloc.h."""


def freeze_startup_objects() -> None:
    """Freeze the objects created at startup, so that garbage collection skips them."""
    gc.freeze()


def raise_gc_thresholds(young: int = 50_000) -> None:
    """Make garbage collection rare; call it before work begins.

    Thousands of votes are alive at any time and none is in a cycle: the default, a collection for
    every 700 objects, takes a tenth of the CPU. Only for processes with many live objects: in
    others, uncollected cycles would become most of the growing memory.

    Args:
        young: new objects that start a collection, which takes longer for more of them. How rare
            full collections are does not depend on it.
    """
    freeze_startup_objects()
    gc.set_threshold(young, 20, 5_000_000 // young)


def share_one_arena() -> None:
    """Let all threads allocate from one arena, where the C library can be asked to (glibc).

    Call it before the threads start. What a thread frees is otherwise used again by that thread
    only: a cache of fixed size whose blocks are made now by one and now by another thread grows
    up to once more for each.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_ARENA_MAX, 1)


def return_freed() -> None:
    """Return what the C library keeps of freed blocks, where it can be asked to (glibc).

    After millions of voters were read that is 10 bytes a voter.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
