"""The verification steps of ElectionGuard 1.1, with the numbers of its specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from streams.tally.refusals import RefusalCheck, Refused


class VerificationStep(IntEnum):
    """A step, as far as the code names it; 12 to 15 are 8 to 11 for spoiled ballots."""

    PARAMETERS = 1
    GUARDIANS = 2
    KEY = 3
    SELECTIONS = 4
    LIMITS = 5
    CODES = 6
    AGGREGATION = 7
    SHARES = 8
    SUBSTITUTES = 9
    REPLACEMENTS = 10
    COUNTS = 11
    SPOILED = 16


NAMES: Final = {
    1: "Parameters of the election",
    2: "Keys of the guardians",
    3: "Key of the election",
    4: "Encryptions of selections",
    5: "Vote limits",
    6: "Confirmation codes",
    7: "Product of the cast ballots",
    8: "Shares of the tally",
    9: "Shares of the tally for missing guardians",
    10: "Replaced shares of the tally",
    11: "Counts of the tally",
    12: "Shares of spoiled ballots",
    13: "Shares of spoiled ballots for missing guardians",
    14: "Replaced shares of spoiled ballots",
    15: "Counts of spoiled ballots",
    16: "Spoiled ballots",
    17: "Shares of contest data",
    18: "Shares of contest data for missing guardians",
    19: "Replaced shares of contest data",
}
CONTEST_DATA: Final = (17, 18, 19)
_TO_SPOILED: Final = 4
_OF_SHARES: Final = range(VerificationStep.SHARES, VerificationStep.COUNTS + 1)


class StepOutcome(StrEnum):
    """How a step ended."""

    PASS = "pass"  # noqa: S105 - a word
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"
    NOT_REACHED = "not reached"


@dataclass(frozen=True)
class StepResult:
    """One step of a verification."""

    step: int
    name: str
    outcome: StepOutcome
    note: str = ""
    """Why it failed or is not applicable."""


class Steps:
    """The steps of one verification, which ends at the first that fails.

    Args:
        names: of the specification's steps.
    """

    def __init__(self, names: Mapping[int, str] = NAMES) -> None:
        self._names = names
        self._found: dict[int, tuple[StepOutcome, str]] = {}

    def skip(self, why: str, *numbers: int) -> None:
        """Note that steps are not applicable."""
        for number in numbers:
            self._found[number] = StepOutcome.NOT_APPLICABLE, why

    @contextmanager
    def at(self, *numbers: int) -> Iterator[None]:
        """The steps that the block checks; a refusal without a step is of the first of them."""
        try:
            with during(numbers[0]):
                yield
        except Refused as refused:
            if refused.step is not None:
                self._found[refused.step] = StepOutcome.FAIL, str(refused)
            raise
        for number in numbers:
            self._found.setdefault(number, (StepOutcome.PASS, ""))

    def results(self) -> list[StepResult]:
        """All steps in order."""
        unknown = (StepOutcome.NOT_REACHED, "")
        return [
            StepResult(number, name, *self._found.get(number, unknown))
            for number, name in self._names.items()
        ]


@contextmanager
def during(step: int) -> Iterator[None]:
    """Give a step to a refusal that has none."""
    try:
        yield
    except Refused as refused:
        refused.step = refused.step or step
        raise


@contextmanager
def of_spoiled() -> Iterator[None]:
    """Give the steps of spoiled ballots to refusals of shares and counts."""
    try:
        yield
    except Refused as refused:
        if refused.step is not None and refused.step in _OF_SHARES:
            refused.step += _TO_SPOILED
        raise


def of_ballot(refused: Refused) -> int:
    """The step at which a ballot is refused."""
    if refused.check in (RefusalCheck.CODE, RefusalCheck.REPEATED):
        return VerificationStep.CODES
    if refused.check in (RefusalCheck.LIMIT, RefusalCheck.ACCUMULATION):
        return VerificationStep.LIMITS
    of_contest = "contest" in refused.where and "selection" not in refused.where
    in_proof = refused.check in (
        RefusalCheck.RANGE,
        RefusalCheck.CHALLENGE,
        RefusalCheck.SUBGROUP,
        RefusalCheck.EQUATION,
    )
    return VerificationStep.LIMITS if of_contest and in_proof else VerificationStep.SELECTIONS
