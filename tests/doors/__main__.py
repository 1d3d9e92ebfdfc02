"""Write docs/doors.md."""

from __future__ import annotations

from tests.doors.places import PAGE, page

PAGE.write_text(page(), encoding="utf-8")
