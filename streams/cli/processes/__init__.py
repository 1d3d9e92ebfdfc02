"""Commands that become one of Scrutin's processes.

They replace this process by the documented one, so that signals and exit codes are its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn


def become(module: str, arguments: Sequence[str] = ()) -> NoReturn:
    """Replace this process by `python -m MODULE ARGUMENTS`."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
