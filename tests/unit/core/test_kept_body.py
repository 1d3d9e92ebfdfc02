"""What is kept of malformed bodies: enough to see the fault, never `nas` or `code`."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.kept_body import HEAD_BYTES, is_secret, kept_head

NAS, CODE = "123456789", "XK7Q2P"
BOTH = {"nas": NAS, "code": CODE}
FORM = f"nas={NAS}&code={CODE}"

HIDING: list[bytes] = [
    *(
        json.dumps(body).encode()
        for body in (
            {"law_id": "L-1", **BOTH},
            {"NAS": NAS, "Code": CODE},
            {" nas ": NAS, "c.o.d.e": CODE},
            {"n\u200bas": NAS, "\uff23\uff2f\uff24\uff25": CODE},
            {"nás": NAS, "voter_code": CODE},
            {"who": [{"deep": BOTH}]},
            {"nas": int(NAS), "code": [CODE, {"code": CODE}]},
            {"payload": json.dumps(BOTH)},
            {"payload": json.dumps(json.dumps(BOTH))},
            {"payload": FORM},
            {"payload": urllib.parse.quote(json.dumps(BOTH))},
            {"payload": base64.b64encode(json.dumps(BOTH).encode()).decode()},
            {FORM: ""},
            {NAS: "", "code": CODE},
            {"person": "123 456 789", "code": CODE},
            {"person": 123456789, "code": CODE},
            {"person": "123\u00a0456\u2010789", "code": CODE},
            [NAS, CODE],
            f"{NAS}|{CODE}",
        )
    ),
    b'{"nas":"123456789","nas":"123456789","code":"XK7Q2P"}',
    b'{"\\u006eas":"123456789","c\\u006fde":"XK7Q2P"}',
    b'{"nas":"123456789","code":"XK7Q2P"',
    b'{"c\\u006fde":"XK7Q2P", "n\\u0061s": "123456789"',
    b"{'nas': '123456789', 'code': 'XK7Q2P'}",
    b"{nas:123456789,code:'XK7Q2P'}",
    FORM.encode(),
    b"123456789;XK7Q2P;L-1",
    b"123-456-789 XK7Q2P",
    b"<vote><nas>123456789</nas><code>XK7Q2P</code></vote>",
    json.dumps(BOTH).encode("utf-16"),
    json.dumps(BOTH).encode("utf-16-le"),
    b"\xef\xbb\xbf" + json.dumps(BOTH).encode(),
    json.dumps(BOTH).encode() + b"\xff",
    base64.b64encode(json.dumps(BOTH).encode()),
    json.dumps({**BOTH, "padding": "x" * 5000}).encode(),
    json.dumps({"padding": "x" * 5000, **BOTH}).encode(),
    b'{"a":' * 40 + json.dumps(BOTH).encode() + b"}" * 40,
    b"[" * 1500 + json.dumps(BOTH).encode(),
]


def texts(head: bytes) -> list[str]:
    """Everything that a reader could make of a head without much effort."""
    found = [head.decode(errors="replace"), head.replace(b"\0", b"").decode(errors="replace")]
    found.append(urllib.parse.unquote(found[0]))
    for token in found[0].replace('"', " ").split():
        try:
            found.append(base64.b64decode(token, validate=True).decode(errors="replace"))
        except ValueError:
            continue
    return [f"{one} {''.join(c for c in one if c.isalnum())}" for one in found]


@pytest.mark.parametrize("body", HIDING)
def test_no_spelling_nesting_or_encoding_keeps_a_credential(body: bytes) -> None:
    head = kept_head(body)
    assert len(head) <= HEAD_BYTES
    for text in texts(head):
        assert NAS not in text
        assert CODE not in text
    # What was written once is not found again by applying it to rows of earlier versions.
    assert NAS.encode() not in kept_head(body[:HEAD_BYTES])


@pytest.mark.parametrize(
    "body",
    [
        b"{broken",
        b"not json",
        b'["vote",3]',
        b'{"hash":"' + b"0af1" * 16 + b'","citizen_id":"m-12","law_id":"L-1","vote":"oui"}',
        b'{"law_id":"L-1", "timestamp":"2026-05-03T10:00:00.250000Z", "choice":null}',
        b'{"hash":"x","hash":"y"}',
    ],
)
def test_harmless_bodies_stay_as_they_came(body: bytes) -> None:
    assert kept_head(body) == body


def test_a_mask_shows_the_shape_and_the_documented_fields() -> None:
    body = b'{"law_id":"L-1","nas":"123456789","code":"XK7Q2P"'
    assert kept_head(body) == b'{"law_id":"a-9","nas":"999999999","code":"aa9a9a"'


def test_an_object_loses_only_the_two_fields() -> None:
    body = json.dumps({"law_id": "L-1", "vote": ["oui"], **BOTH}).encode()
    assert json.loads(kept_head(body)) == {"law_id": "L-1", "vote": ["oui"]}


def test_the_name_of_a_poll_voter_is_masked() -> None:
    body = {"poll_id": "7", "voter_name": "Ann-Lee 2", "copy": [{"Voter Name": "Ann"}]}
    kept = {"poll_id": "7", "voter_name": "aaa-aaa 9", "copy": [{"?": "aaa"}]}
    assert json.loads(kept_head(json.dumps(body).encode())) == kept


@pytest.mark.parametrize("name", ["postal_code", "nasal", "cod", "", "codex"])
def test_other_names_are_no_secrets(name: str) -> None:
    assert not is_secret(name)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_body_makes_it_raise_and_again_it_stays_bounded(body: bytes) -> None:
    head = kept_head(body)
    assert len(kept_head(head)) <= HEAD_BYTES


@given(
    st.dictionaries(
        st.sampled_from(["nas", "Code", "who", "list", "NAS "]),
        st.recursive(
            st.just("SECRET"),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["nas", "CODE"]), inner, max_size=2)
            ),
        ),
        max_size=4,
    )
)
def test_values_of_both_fields_go_at_every_depth(fields: dict[str, object]) -> None:
    def strip(value: object) -> object:
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k.strip().lower() not in BOTH}
        return [strip(v) for v in value] if isinstance(value, list) else value

    assert json.loads(kept_head(json.dumps(fields).encode())) == strip(fields)
