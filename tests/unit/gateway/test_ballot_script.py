"""The constants of the script that encrypts ballots are those that the tally checks with."""

from __future__ import annotations

import re
from importlib.resources import files

from streams.gateway.handlers.pages import read_files
from streams.tally.crypto.group import G, P, Q


def test_the_script_has_the_group_of_the_tally() -> None:
    script = read_files(files("streams.gateway").joinpath("static"))["group.js"].content.decode()
    numbers = {
        name: int("".join(re.findall(r'"([0-9A-F]+)"', digits)), 16)
        for name, digits in re.findall(r"const (\w) = number\(\[(.*?)\]\)", script, re.DOTALL)
    }
    assert numbers == {"P": int(P), "G": int(G)}
    assert "const Q = 2n ** 256n - 189n;" in script
    assert int(Q) == 2**256 - 189
