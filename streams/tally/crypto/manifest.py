"""The election manifest, with every field of the reference's because all of them are hashed."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from gmpy2 import mpz

from streams.tally.crypto.hashing import hash_elements
from streams.tally.refusals import RefusalCheck, plain_name, require

VOTE_VARIATIONS = ("one_of_m", "approval", "majority", "n_of_m", "plurality", "super_majority")
"""Variations that a proof of exactly `number_elected` ones, placeholders included, can express."""


class Annotated(msgspec.Struct, frozen=True):
    """A string with a note."""

    annotation: str = ""
    value: str = ""

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(self.annotation, self.value)


class Language(msgspec.Struct, frozen=True):
    """A string in a language."""

    value: str
    language: str = "en"

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(self.value, self.language)


class Text(msgspec.Struct, frozen=True):
    """A string in several languages."""

    # Required, so that a document of another form is refused and not hashed as an empty text.
    text: list[Language]

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(self.text)


Name = Text | str
"""Deployed services write plain strings, which enter the hash as they are."""


def first_language(name: Name) -> str:
    """A name in its first language; empty if it has none."""
    if isinstance(name, str):
        return name
    return name.text[0].value if name.text else ""


class Contact(msgspec.Struct, frozen=True):
    """Contact details."""

    address_line: list[str] | None = None
    email: list[Annotated] | None = None
    phone: list[Annotated] | None = None
    name: str | None = None

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(self.name, self.address_line, self.email, self.phone)


class GeopoliticalUnit(msgspec.Struct, frozen=True):
    """A district; it connects contests to ballot styles."""

    object_id: str
    name: str
    type: str
    contact_information: Contact | None = None

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(self.object_id, self.name, self.type, self.contact_information)


class BallotStyle(msgspec.Struct, frozen=True):
    """The districts whose contests are on a ballot."""

    object_id: str
    geopolitical_unit_ids: list[str] | None = None
    party_ids: list[str] | None = None
    image_uri: str | None = None

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(
            self.object_id, self.geopolitical_unit_ids, self.party_ids, self.image_uri
        )


class ManifestParty(msgspec.Struct, frozen=True):
    """A party."""

    object_id: str
    name: Name = Text([])
    abbreviation: str | None = None
    color: str | None = None
    logo_uri: str | None = None

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(
            self.object_id, self.name, self.abbreviation, self.color, self.logo_uri
        )


class ManifestCandidate(msgspec.Struct, frozen=True):
    """A person or answer to choose."""

    object_id: str
    name: Name = Text([])
    party_id: str | None = None
    image_uri: str | None = None
    is_write_in: bool | None = None


class SelectionDescription(msgspec.Struct, frozen=True):
    """A candidate's line in a contest."""

    object_id: str
    sequence_order: int
    candidate_id: str

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(self.object_id, self.sequence_order, self.candidate_id)


class ContestDescription(msgspec.Struct, frozen=True):
    """A contest with its selections; at most `number_elected` may be chosen."""

    object_id: str
    sequence_order: int
    electoral_district_id: str
    vote_variation: str
    number_elected: int
    votes_allowed: int | None
    name: str
    ballot_selections: list[SelectionDescription] = []
    ballot_title: Name | None = None
    ballot_subtitle: Name | None = None

    def crypto_hash(self) -> mpz:
        """Hash of its content."""
        return hash_elements(
            self.object_id,
            self.sequence_order,
            self.electoral_district_id,
            self.vote_variation,
            self.ballot_title,
            self.ballot_subtitle,
            self.name,
            self.number_elected,
            self.votes_allowed,
            self.ballot_selections,
        )

    def placeholders(self) -> list[SelectionDescription]:
        """One line for each seat that a voter may leave open, after the real lines.

        They allow the contest's proof to be about exactly `number_elected` votes.
        """
        last = max(selection.sequence_order for selection in self.ballot_selections)
        result = []
        for order in range(last + 1, last + 1 + self.number_elected):
            name = f"{self.object_id}-{order}"
            result.append(SelectionDescription(f"{name}-placeholder", order, f"{name}-candidate"))
        return result


class Manifest(msgspec.Struct, frozen=True):
    """The definition of an election."""

    election_scope_id: str
    spec_version: str
    type: str
    start_date: datetime
    end_date: datetime
    geopolitical_units: list[GeopoliticalUnit]
    parties: list[ManifestParty]
    candidates: list[ManifestCandidate]
    contests: list[ContestDescription]
    ballot_styles: list[BallotStyle]
    name: Name | None = None
    contact_information: Contact | None = None

    def crypto_hash(self) -> mpz:
        """Hash of its content; candidates' names are not part of it in the reference."""
        return hash_elements(
            self.election_scope_id,
            self.type,
            _iso(self.start_date),
            _iso(self.end_date),
            self.name,
            self.contact_information,
            self.geopolitical_units,
            self.parties,
            self.contests,
            self.ballot_styles,
        )

    def check(self) -> None:
        """Check that ids are unique, references resolve, and contests can be proved.

        Raises:
            Refused: `manifest`.
        """
        _unique("contest", [contest.object_id for contest in self.contests])
        _unique("contest order", [contest.sequence_order for contest in self.contests])
        _unique("ballot style", [style.object_id for style in self.ballot_styles])
        units = {unit.object_id for unit in self.geopolitical_units}
        names = [line.object_id for contest in self.contests for line in contest.ballot_selections]
        _unique("selection", names)
        for contest in self.contests:
            lines = contest.ballot_selections
            _unique("selection order", [line.sequence_order for line in lines])
            _unique("candidate", [line.candidate_id for line in lines])
            require(
                1 <= contest.number_elected <= len(lines)
                and contest.vote_variation in VOTE_VARIATIONS
                and contest.votes_allowed in (None, contest.number_elected)
                and contest.electoral_district_id in units,
                RefusalCheck.MANIFEST,
                "a contest has too few selections, an unsupported variation, or no district",
                contest=contest.object_id,
            )
        for style in self.ballot_styles:
            known = set(style.geopolitical_unit_ids or ()) <= units
            require(
                known,
                RefusalCheck.MANIFEST,
                "a ballot style has no district",
                style=style.object_id,
            )


def _iso(moment: datetime) -> str:
    """UTC to the second; a time without a zone is UTC, as in the reference."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _unique(kind: str, names: list[str] | list[int]) -> None:
    require(
        len(set(names)) == len(names) > 0 and all(plain_name(str(name)) for name in names),
        RefusalCheck.MANIFEST,
        f"no {kind}, a repeated one, or one whose id is empty, too long or not printable",
    )


def plain_manifest(
    election_id: str, contests: dict[str, list[str]], *, moment: datetime, number_elected: int = 1
) -> Manifest:
    """A manifest of one district and one ballot style with these contests and candidates."""
    district = "district"
    descriptions, candidates = [], []
    for number, (contest, names) in enumerate(contests.items(), 1):
        lines = []
        for order, name in enumerate(names, 1):
            candidate = f"{contest}-{name}"
            candidates.append(ManifestCandidate(candidate, Text([Language(name)])))
            lines.append(SelectionDescription(f"{candidate}-selection", order, candidate))
        descriptions.append(
            ContestDescription(
                contest, number, district, "n_of_m", number_elected, number_elected, contest, lines
            )
        )
    manifest = Manifest(
        election_id,
        "1.0",
        "general",
        moment,
        moment,
        [GeopoliticalUnit(district, district, "other")],
        [],
        candidates,
        descriptions,
        [BallotStyle("ballot", [district])],
    )
    manifest.check()
    return manifest
