"""Rules set by the control records of a partition, and validators of votes by them; pure.

The rules depend only on the position in the log, not on when or by which process it is read. A
partition without control records has no rules: its votes are validated by their flags.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from schemas.control import (
    KEY_BYTES,
    MAX_WEIGHT,
    Conduct,
    Contest,
    ContestKind,
    ContestMethod,
    ContestRoll,
    ContestsChanged,
    ContestsEnforced,
    ContestState,
    ElectionContest,
    EpochOpened,
    RankedChanged,
    RankedContest,
    RollChanged,
    WeighedRollChanged,
)
from schemas.genesis import RehearsalGenesis
from schemas.verdicts import Reason
from schemas.voted import TableControl
from schemas.votes import Flag, Kind, Rule, RuledVoteBatch, Vote, VoteBatch
from streams.core import ranking
from streams.core.conduct import conduct_of
from streams.core.contests import is_sound, may_become
from streams.core.key_set import KeySet
from streams.core.polls import POLL_PREFIX

LAW_CHOICES: Final = frozenset({"oui", "non"})

RECENT_ROLL_COMMANDS: Final = 256
"""Number of roll commands whose repeated records are recognised. A producer repeats a record within
seconds; nobody issues that many commands meanwhile."""

Validator = Callable[[Vote, bytes], Reason | None]
"""Given a vote and its voter key: why it does not count, or None if it does."""

_ON_ROLL: Final = int(Flag.ON_ROLL)
_PREVALIDATED: Final = int(Flag.PREVALIDATED)
_LAW: Final = int(Kind.LAW)


def by_flags(vote: Vote, _key: bytes) -> Reason | None:
    """Validate a vote by the flags that the bridge set, without rules."""
    if not vote.flags & _ON_ROLL:
        return Reason.NOT_ON_ROLL
    if vote.kind == _LAW and vote.choice not in LAW_CHOICES:
        return Reason.UNKNOWN_CHOICE
    return None


MAX_NUMBER: Final = 2**62
"""Above the number of any command; only a forged record has one, and a database cannot hold all."""


class Rules:
    """The rules of one partition at one position of its log."""

    def __init__(self) -> None:
        self.epoch = 0
        """Votes taken in during an earlier epoch are void."""
        self.contests: dict[str, Contest] = {}
        """By id, as of the latest command."""
        self.roll = KeySet()
        """Voter keys of this partition that may vote."""
        self.weights: dict[bytes, int] = {}
        """Of keys on the roll whose votes count more than once."""
        self.weights_by_contest: dict[str, dict[bytes, int]] = {}
        """The same, by contest in which votes have weights."""
        self.revoted: set[str] = set()
        """Contests in which the last vote of a voter counts."""
        self.rehearsal = False
        """Whether the log may be reset."""
        self.enforced: set[str] = set()
        """Contests whose rules apply to every vote."""
        self.ignored = 0
        """Commands, or parts of them, that had no effect because nobody may issue such."""
        self._numbers: dict[str, int] = {}
        # By contest: number of the latest command that changed it.
        self._roll_commands: dict[bytes, int] = {}
        # By recent command: the sequence number of its last record.
        self._choices: dict[str, dict[str, str] | None] = {}
        # By contest: region of each choice, empty if it has none.
        self._replaceable: set[str] = set()
        # Contests that no command has changed in this epoch, which began without them.

    def apply(self, control: TableControl) -> bool:
        """Apply a control record; returns whether it opened an epoch."""
        match control:
            case RehearsalGenesis():
                self.rehearsal = True
            case ContestsChanged():
                for contest in control.contests:
                    self._change(contest, control)
            case RollChanged():
                self._change_roll(control)
            case EpochOpened():
                return self._open_epoch(control)
        return False

    def _change_roll(self, control: RollChanged) -> None:
        if control.sequence <= self._roll_commands.get(control.command_id, -1):
            return
        if len(control.added) % KEY_BYTES or len(control.withdrawn) % KEY_BYTES:
            # A forged record: part of a key would move every key that comes after it.
            self.ignored += 1
            return
        weights = control.weights if isinstance(control, WeighedRollChanged) else None
        if weights is not None and (
            len(weights) * KEY_BYTES != len(control.added)
            or not all(1 <= weight <= MAX_WEIGHT for weight in weights)
        ):
            self.ignored += 1
            return
        self._roll_commands.pop(control.command_id, None)
        self._roll_commands[control.command_id] = control.sequence
        if len(self._roll_commands) > RECENT_ROLL_COMMANDS:
            del self._roll_commands[next(iter(self._roll_commands))]
        self.roll.add(control.added)
        self.roll.discard(control.withdrawn)
        if weights is not None or self.weights:
            self._weigh(control.added, weights)
            self._weigh(control.withdrawn, None)

    def _weigh(self, keys: bytes, weights: list[int] | None) -> None:
        for number in range(len(keys) // KEY_BYTES):
            key = keys[number * KEY_BYTES : (number + 1) * KEY_BYTES]
            weight = 1 if weights is None else weights[number]
            if weight == 1:
                self.weights.pop(key, None)
            else:
                self.weights[key] = weight

    def _open_epoch(self, control: EpochOpened) -> bool:
        if control.epoch <= self.epoch:
            return False
        self.epoch = control.epoch
        self._replaceable = set(self.contests)
        return True

    def _change(self, contest: Contest, control: ContestsChanged) -> None:
        name = contest.id
        if control.number <= self._numbers.get(name, 0):
            return
        old = None if name in self._replaceable else self.contests.get(name)
        sound = control.number < MAX_NUMBER and is_sound(contest)
        if not sound or (old is not None and not may_become(old, contest)):
            # It does not take the number either, or it would stop the commands that follow.
            self.ignored += 1
            return
        if isinstance(control, ContestsEnforced) or (
            isinstance(control, RankedChanged) and control.enforced
        ):
            self.enforced.add(name)
        elif old is None or old.state == ContestState.DRAFT:
            self.enforced.discard(name)
        self._replaceable.discard(name)
        self._numbers[name] = control.number
        self.contests[name] = contest
        self._choices[name] = _regions_by_choice(contest)
        # Without the contest's rules a later vote could come after the closing.
        conduct = conduct_of(contest) if name in self.enforced else Conduct()
        self.revoted.discard(name)
        self.weights_by_contest.pop(name, None)
        if conduct.revote:
            self.revoted.add(name)
        if conduct.weighted:
            self.weights_by_contest[name] = self.weights

    def void(self, batch: VoteBatch) -> bool:
        """Whether a record's votes belong to an earlier epoch."""
        return self.epoch > 0 and epoch_of(batch) < self.epoch

    def validator(self, batch: VoteBatch) -> Validator:
        """The validator of a record's votes."""
        rules = batch.rules if isinstance(batch, RuledVoteBatch) else 0
        enforced = self.enforced
        if not rules and not enforced:
            return by_flags
        by_roll = self._by_table if rules & Rule.ROLL_TABLE else _by_flag
        if rules & Rule.CONTESTS:
            return lambda vote, key: self._by_contest(vote, key, by_roll)
        polls = bool(rules & Rule.POLLS)
        if not polls and not enforced:
            return lambda vote, key: by_roll(vote, key) or _known_choice(vote)
        return lambda vote, key: (
            self._by_contest(vote, key, by_roll)
            if vote.contest in enforced or (polls and vote.contest.startswith(POLL_PREFIX))
            else by_roll(vote, key) or _known_choice(vote)
        )

    def _by_contest(self, vote: Vote, key: bytes, by_roll: Validator) -> Reason | None:
        contest = self.contests.get(vote.contest)
        if contest is None:
            return Reason.UNKNOWN_CONTEST
        if contest.state != ContestState.OPEN:
            draft = contest.state == ContestState.DRAFT
            return Reason.CONTEST_NOT_OPEN if draft else Reason.CONTEST_CLOSED
        choices = self._choices[vote.contest]
        if choices is not None and (reason := _choice_fault(vote, contest, choices)) is not None:
            return reason
        return self._by_roll_of(contest, vote, key, by_roll)

    def _by_roll_of(
        self, contest: Contest, vote: Vote, key: bytes, by_roll: Validator
    ) -> Reason | None:
        if contest.roll == ContestRoll.OPEN:
            return None
        if contest.roll != ContestRoll.TABLE:
            return by_roll(vote, key)
        # In a poll the flag says that a gateway took the poll for one that is open to all.
        if vote.flags & _PREVALIDATED and contest.kind != ContestKind.POLL:
            return None
        return None if key in self.roll else Reason.NOT_ON_ROLL

    def _by_table(self, vote: Vote, key: bytes) -> Reason | None:
        if vote.flags & _PREVALIDATED or key in self.roll:
            return None
        return Reason.NOT_ON_ROLL


def _regions_by_choice(contest: Contest) -> dict[str, str] | None:
    if contest.choices is None:
        return None
    regions = contest.regions if isinstance(contest, ElectionContest) else None
    return dict(zip(contest.choices, regions or [""] * len(contest.choices), strict=True))


class _Metadata(msgspec.Struct):
    """The part of a vote's metadata that rules read."""

    region_id: str | int | None = None


_metadata: Final = msgspec.json.Decoder(_Metadata)


def _choice_fault(vote: Vote, contest: Contest, regions: dict[str, str]) -> Reason | None:
    """Why the choice does not count, by choice and region; None if it does."""
    if not isinstance(contest, ElectionContest):
        return None if vote.choice in regions else Reason.CHOICE_NOT_ALLOWED
    if contest.method == ContestMethod.RANKED:
        if isinstance(contest, RankedContest) and contest.rules is not None:
            chosen = ranking.marked_in(vote.choice)
        else:
            # Skipped ranks were never in the log before they could be counted by rules.
            chosen = [each for each in vote.choice.split(ranking.SEPARATOR) if each]
            if len(set(chosen)) < len(chosen) or not chosen:
                return Reason.CHOICE_NOT_ALLOWED
    else:
        blank = vote.choice == ranking.BLANK and conduct_of(contest).blank_ballots
        chosen = [] if blank else [vote.choice]
    if any(each not in regions for each in chosen):
        return Reason.CHOICE_NOT_ALLOWED
    if contest.regions is None:
        return None
    own = {regions[each] for each in chosen}
    if vote.metadata is not None and (claimed := claimed_region(vote.metadata)) is not None:
        own.add(claimed)
    return Reason.OTHER_REGION if len(own) > 1 else None


def claimed_region(metadata: str) -> str | None:
    """The region that a vote claims; None if it claims none or cannot be read."""
    try:
        region = _metadata.decode(metadata).region_id
    except msgspec.DecodeError:
        return None
    return None if region is None else str(region)


def epoch_of(batch: VoteBatch) -> int:
    """The epoch in which a record's votes were taken in."""
    return batch.epoch if isinstance(batch, RuledVoteBatch) else 0


def _by_flag(vote: Vote, _key: bytes) -> Reason | None:
    return None if vote.flags & _ON_ROLL else Reason.NOT_ON_ROLL


def _known_choice(vote: Vote) -> Reason | None:
    if vote.kind == _LAW and vote.choice not in LAW_CHOICES:
        return Reason.UNKNOWN_CHOICE
    return None
