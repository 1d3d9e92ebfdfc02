"""Acknowledgements: never ahead of Kafka, never onto a rejected tag, nothing left behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.bridge.delivery_tags import DeliveryTags


class Broker:
    """What RabbitMQ does with the acknowledgements of one channel."""

    def __init__(self, delivered: int) -> None:
        self.unacked = dict.fromkeys(range(1, delivered + 1))
        self.acked: set[int] = set()

    def reject(self, tag: int) -> None:
        assert tag in self.unacked, "RabbitMQ closes the channel: unknown delivery tag"
        del self.unacked[tag]

    def ack_multiple(self, tag: int) -> None:
        assert tag in self.unacked, "RabbitMQ closes the channel: unknown delivery tag"
        for covered in [t for t in self.unacked if t <= tag]:
            del self.unacked[covered]
            self.acked.add(covered)


def test_acknowledges_up_to_the_first_gap() -> None:
    tags = DeliveryTags()
    tags.delivered = 5
    tags.confirm([1, 2, 4])
    assert tags.next_ack() == 2
    assert tags.next_ack() is None
    tags.confirm([3])
    assert tags.next_ack() == 4
    assert tags.outstanding == 1


def test_never_names_a_rejected_tag() -> None:
    tags = DeliveryTags()
    tags.delivered = 3
    tags.reject([3])
    tags.confirm([1, 2])
    assert tags.next_ack() == 2
    assert tags.outstanding == 0


def test_all_rejected_leaves_nothing_to_acknowledge() -> None:
    tags = DeliveryTags()
    tags.delivered = 2
    tags.reject([1, 2])
    assert tags.next_ack() is None
    assert tags.outstanding == 0


@given(
    st.integers(1, 40).flatmap(
        lambda count: st.tuples(
            st.permutations(range(1, count + 1)),
            st.sets(st.integers(1, count)),
            st.lists(st.integers(1, 8), max_size=40),
        )
    )
)
def test_any_order_of_confirms(case: tuple[list[int], set[int], list[int]]) -> None:
    """Kafka confirms in any order and in groups of any size; some deliveries are malformed."""
    order, malformed, sizes = case
    broker, tags = Broker(len(order)), DeliveryTags()
    tags.delivered = len(order)
    confirmed: set[int] = set()
    remaining = list(order)
    widths = iter(sizes)
    while remaining:
        group, remaining = remaining[: (n := next(widths, 1))], remaining[n:]
        for tag in sorted(set(group) & malformed):
            broker.reject(tag)
            tags.reject([tag])
        tags.confirm([tag for tag in group if tag not in malformed])
        confirmed |= set(group)
        ack = tags.next_ack()
        if ack is not None:
            broker.ack_multiple(ack)
        assert broker.acked <= confirmed
        assert tags.outstanding == len(order) - len(confirmed)
    assert broker.acked == set(order) - malformed
    assert not broker.unacked


def test_deliveries_that_the_driver_returned_do_not_hold_up_later_ones() -> None:
    tags = DeliveryTags()
    tags.skip_to(1)
    tags.skip_to(4)
    tags.confirm([1, 4])
    assert tags.next_ack() == 4
    assert tags.outstanding == 0


def test_what_was_given_back_is_not_acknowledged() -> None:
    tags = DeliveryTags()
    tags.delivered = 3
    tags.confirm([3])
    tags.give_back()
    assert tags.outstanding == 0
    tags.confirm([1, 2])
    assert tags.next_ack() is None
    assert not tags.known(2)
    tags.skip_to(4)
    tags.confirm([4])
    assert tags.next_ack() == 4
