"""What is kept of `citizen_id`."""

from __future__ import annotations

import msgspec
import pytest

from streams.core.citizens import CitizenIds, CitizenRule
from streams.errors import SettingsError
from streams.settings.load import load_settings
from tests.strategies import make_malformed, make_vote

VOTE = msgspec.structs.replace(make_vote(1), citizen_id="C-1")
SECRET = b"k" * 32


def kept(rule: str, secret: bytes = SECRET) -> str | None:
    found = CitizenIds(rule, secret).hide(VOTE)
    assert msgspec.structs.replace(found, citizen_id="C-1") == VOTE
    return found.citizen_id  # type: ignore[union-attr]


def test_the_id_is_kept_digested_or_dropped() -> None:
    assert kept(CitizenRule.PLAIN) == "C-1"
    assert kept(CitizenRule.NONE) is None
    digest = kept(CitizenRule.DIGEST)
    assert digest is not None
    assert len(digest) == 32
    assert digest == kept(CitizenRule.DIGEST)
    assert digest != kept(CitizenRule.DIGEST, b"o" * 32)


@pytest.mark.parametrize("rule", [CitizenRule.DIGEST, CitizenRule.NONE])
def test_a_malformed_message_keeps_no_part_of_its_body(rule: str) -> None:
    bad = msgspec.structs.replace(make_malformed(), head=b'{"citizen_id": "C-1"')
    found = CitizenIds(rule, SECRET).hide(bad)
    assert found == msgspec.structs.replace(bad, head=b"")


def test_digests_need_a_secret() -> None:
    with pytest.raises(SettingsError, match="needs a secret"):
        load_settings({"SCRUTIN_CITIZEN_ID": "digest"})
    assert load_settings({"SCRUTIN_CITIZEN_ID": "none"}).citizen_id == "none"
