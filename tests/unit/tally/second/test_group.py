"""The hash of ElectionGuard 2 gives the values that its authors' program expects."""

from __future__ import annotations

import pytest

from streams.tally.second.group import G, P, Q, hash_bytes

GUARDIANS, QUORUM = 5, 3


@pytest.mark.parametrize(
    ("version", "more", "expected"),
    [
        # Of the published key ceremony, which names version 2.0.
        ("v2.0.0", (), "2B3B025E50E09C119CBA7E9448ACD1CABC9447EF39BF06327D81C665CDD86296"),
        # Of the program's own tests: 2.1 adds the number of guardians and the quorum.
        (
            "v2.1.0",
            (GUARDIANS, QUORUM),
            "944286970EAFDB6F347F4EB93B30D48FA3EDCC89BFBAEA6F5AE8F29AFB05DDCE",
        ),
    ],
)
def test_the_parameter_base_hash_is_that_of_the_rust_reference(
    version: str, more: tuple[int, ...], expected: str
) -> None:
    key = version.encode().ljust(32, b"\0")
    found = hash_bytes(key, 0, P, int(Q).to_bytes(32), G, *more)
    assert found.hex().upper() == expected
