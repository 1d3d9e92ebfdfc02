"""Signed notes: C2SP's published example, keys, rotation, and what is refused."""

from __future__ import annotations

import pytest

from streams.proof.notes import COSIGNATURE, ED25519, BadNote, Note, Signer, Verifier, sign

# The example of the format's reference implementation.
KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNATURE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6"
    "KE6RyyBwJnAM=\n"
)
NOTE = f"{TEXT}\n{SIGNATURE}"


def test_the_published_note() -> None:
    assert Note.parse(NOTE).signed_by(Verifier.parse(KEY)) == 0
    signer = Signer.parse(PRIVATE)
    assert sign(TEXT, [signer]) == NOTE
    assert signer.verifier.text == KEY
    assert signer.text == PRIVATE


def test_the_published_cosigned_checkpoint_is_read() -> None:
    """The cosignature's example gives a time; its keys are not published."""
    text = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhc"
        "yv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
        "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    note = Note.parse(text)
    assert note.body.startswith("example.com/behind-the-sofa\n20852163\n")
    assert int.from_bytes(note.signatures[1].rest[:8], "big") == 1679315147
    assert len(note.signatures[0].rest) == 64


@pytest.mark.parametrize("place", range(0, len(KEY), 3))
def test_a_changed_key_is_no_key(place: int) -> None:
    changed = KEY[:place] + chr(ord(KEY[place]) ^ 1) + KEY[place + 1 :]
    with pytest.raises(BadNote):
        Verifier.parse(changed)


def test_a_changed_text_is_not_signed() -> None:
    with pytest.raises(BadNote, match="does not hold"):
        Note.parse(NOTE.replace("answer", "Answer")).signed_by(Verifier.parse(KEY))


def test_another_key_has_not_signed() -> None:
    assert Note.parse(NOTE).signed_by(Signer.new("PeterNeumann").verifier) is None


def test_a_cosignature_holds_its_time() -> None:
    log, witness = Signer.new("log"), Signer.new("w", COSIGNATURE)
    text = sign("log\n1\n", [log]) + witness.line("log\n1\n", 7)
    assert Note.parse(text).signed_by(witness.verifier) == 7
    assert Note.parse(text).signed_by(log.verifier) == 0
    as_a_log = Verifier("w", ED25519, witness.verifier.key)
    assert Note.parse(text).signed_by(as_a_log) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        "a\n\n",
        "a\n\n— x\n",
        NOTE[:-1],
        NOTE + "x",
        NOTE.replace("— Peter", "- Peter"),
        NOTE.replace("\n", "\r\n"),
        TEXT + "\n" + SIGNATURE * 101,
        TEXT + "\n— PeterNeumann x08g\n",
    ],
)
def test_what_is_not_a_note(text: str) -> None:
    with pytest.raises(BadNote):
        Note.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_names_that_no_key_has(name: str) -> None:
    with pytest.raises(BadNote):
        Signer.new(name)


@pytest.mark.parametrize("body", ["a", "a\n\nb\n", "\n"])
def test_bodies_that_no_note_has(body: str) -> None:
    with pytest.raises(BadNote):
        sign(body, [Signer.parse(PRIVATE)])
