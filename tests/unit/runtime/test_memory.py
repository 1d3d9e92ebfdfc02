"""Threads share the arena of the C library, if they are told to before they start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_THREADS = """
import ctypes, sys, threading
from streams.runtime.memory import share_one_arena

if sys.argv[1] == "shared":
    share_one_arena()
all_hold = threading.Barrier(5)
holds = lambda: all_hold.wait() if bytes(100_000) else None
for _ in range(4):
    threading.Thread(target=holds, daemon=True).start()
all_hold.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.parametrize(("how", "one"), [("shared", True), ("alone", False)])
def test_threads_share_one_arena(how: str, one: bool, tmp_path: Path) -> None:
    info = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", _THREADS, how, str(info)], check=True)
    assert (info.read_text().count("<heap ") == 1) == one
