"""Reviews while somebody sends junk by the million."""

from __future__ import annotations

from schemas.verdicts import Reason, Rejection, Status
from streams.bridge.sampling import MINUTE_MS, Sampler
from tests.strategies import law_hash, make_malformed, make_vote

UNKNOWN = Rejection(0, Status.INVALID, Reason.NOT_ON_ROLL)
AGAIN = Rejection(0, Status.DUPLICATE, Reason.ALREADY_VOTED, 1)


def passed(
    sampler: Sampler, hashes: list[str], ingest_ms: int = 0, verdict: Rejection = UNKNOWN
) -> int:
    return sum(sampler.admits(make_vote(text), verdict, ingest_ms) for text in hashes)


def test_by_default_all_go_out() -> None:
    assert passed(Sampler(0), ["same"] * 10_000) == 10_000


def test_a_minute_has_its_bound_whatever_the_prefixes() -> None:
    sampler = Sampler(100)
    hashes = [law_hash(n) for n in range(5000)]
    assert passed(sampler, hashes) == 100
    assert passed(sampler, hashes, MINUTE_MS) == 100
    # A partition that is behind does not restart a minute.
    assert passed(sampler, hashes, 0) == 0


def test_one_prefix_does_not_crowd_out_the_others() -> None:
    sampler = Sampler(100)
    assert passed(sampler, ["deadbeef" + str(n) for n in range(5000)]) == 10
    assert passed(sampler, [law_hash(1)]) == 1


def test_each_reason_has_a_bound_of_its_own() -> None:
    sampler = Sampler(10)
    hashes = [law_hash(n) for n in range(50)]
    assert passed(sampler, hashes) == 10
    assert passed(sampler, hashes, verdict=AGAIN) == 10
    bad = Rejection(0, Status.MALFORMED, "not_json")
    assert sum(sampler.admits(make_malformed(n, body=b"%08d" % n), bad, 0) for n in range(50)) == 10


def test_it_remembers_no_more_than_it_lets_pass() -> None:
    sampler = Sampler(50)
    passed(sampler, [law_hash(n) for n in range(5000)])
    assert len(sampler._by_prefix) <= 50
