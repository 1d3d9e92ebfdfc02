"""The short way of a delivery, against frames as pika writes them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from streams.adapters.rabbitmq.frames import (
    INCOMPLETE,
    OTHER,
    Deliveries,
    FrameConnection,
    Publications,
    deliver,
)
from streams.messages.decode import Delivery

Seen = list[Delivery]

words = st.text(max_size=30)
properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": words,
        "content_encoding": words,
        "headers": st.dictionaries(words, st.integers(0, 9) | words, max_size=3),
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 9),
        "correlation_id": words,
        "reply_to": words,
        "expiration": words,
        "message_id": words,
        "timestamp": st.integers(0, 2**40),
        "type": words,
        "app_id": words,
    },
)


class SentDelivery:
    """What a broker sends for one message."""

    def __init__(
        self,
        tag: int,
        redelivered: bool,
        fields: dict[str, object],
        body: bytes,
        *,
        consumer: str = "ctag1",
        channel: int = 3,
        exchange: str = "votes.exchange",
    ) -> None:
        method = spec.Basic.Deliver(consumer, tag, redelivered, exchange, "vote.submitted")
        header = spec.BasicProperties(**fields)  # type: ignore[arg-type]
        given_id = fields.get("message_id")
        self.seen = (
            tag,
            redelivered,
            given_id.encode() if isinstance(given_id, str) else None,
            body,
        )
        self.frames = [
            frame.Method(channel, method).marshal(),
            frame.Header(channel, len(body), header).marshal(),
        ]
        if body:
            self.frames.append(frame.Body(channel, body).marshal())
        self.data = b"".join(self.frames)


deliveries = st.builds(
    SentDelivery,
    st.integers(1, 2**63),
    st.booleans(),
    properties,
    st.binary(min_size=1, max_size=300),
    exchange=st.sampled_from(["votes.exchange", "", "votes"]),
)


@given(
    st.integers(1, 2**16 - 1),
    st.text(max_size=60),
    st.lists(st.tuples(words, st.binary(min_size=1, max_size=300)), min_size=1, max_size=3),
)
def test_publications_are_what_pika_writes(
    channel: int, queue: str, messages: list[tuple[str, bytes]]
) -> None:
    ours = Publications(channel, queue)
    for message_id, body in messages:
        properties = spec.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=message_id
        )
        method = spec.Basic.Publish(exchange="", routing_key=queue, mandatory=True)
        written = [
            frame.Method(channel, method).marshal(),
            frame.Header(channel, len(body), properties).marshal(),
            frame.Body(channel, body).marshal(),
        ]
        assert ours.frames(message_id, body) == b"".join(written)


def listener(seen: Seen) -> Deliveries:
    taking = Deliveries()
    taking.begin(3, "ctag1", seen.extend)
    return taking


@given(st.lists(deliveries, min_size=1, max_size=4))
def test_deliveries_are_read_as_pika_wrote_them(sent: list[SentDelivery]) -> None:
    seen: Seen = []
    buffer = b"".join(delivery.data for delivery in sent)
    at = 0
    taking = listener(seen)
    for delivery in sent:
        end = deliver(buffer, at, taking)
        assert end == at + len(delivery.data)
        at = end
    assert not seen
    taking.pass_on()
    taking.pass_on()
    assert seen == [delivery.seen for delivery in sent]


@given(deliveries, st.data())
def test_a_beginning_waits_for_the_rest(delivery: SentDelivery, data: st.DataObject) -> None:
    seen: Seen = []
    cut = data.draw(st.integers(1, len(delivery.data) - 1))
    taking = listener(seen)
    assert deliver(delivery.data[:cut], 0, taking) == INCOMPLETE
    deliver(delivery.data, 0, taking)
    assert deliver(delivery.data[:cut], 0, taking) == INCOMPLETE
    taking.pass_on()
    assert seen == [delivery.seen]


@given(deliveries, st.binary(max_size=20))
def test_what_follows_is_left_alone(delivery: SentDelivery, rest: bytes) -> None:
    seen: Seen = []
    taking = listener(seen)
    assert deliver(delivery.data + rest, 0, taking) == len(delivery.data)
    taking.pass_on()
    assert seen == [delivery.seen]


def test_everything_else_goes_the_way_of_pika() -> None:
    seen: Seen = []
    simple = SentDelivery(1, False, {}, b"vote")
    in_two = [*simple.frames[:2], *(frame.Body(3, part).marshal() for part in (b"vo", b"te"))]
    others = {
        "an empty body": SentDelivery(1, False, {}, b"").data + simple.data,
        "a body in two frames": b"".join(in_two),
        "another consumer": SentDelivery(1, False, {}, b"vote", consumer="ctag2").data,
        "another channel": SentDelivery(1, False, {}, b"vote", channel=4).data,
        "another method": frame.Method(3, spec.Basic.ConsumeOk("ctag1")).marshal() + simple.data,
        "a short method": frame.Method(3, spec.Channel.CloseOk()).marshal() + simple.data,
        "a heartbeat": frame.Heartbeat().marshal(),
        "a heartbeat and more": frame.Heartbeat().marshal() + simple.data,
        "a wrong end": simple.data[:-1] + b"\0",
        "a body of no bytes": b"".join(
            [
                simple.frames[0],
                frame.Header(3, 0, spec.BasicProperties()).marshal(),
                frame.Body(3, b"").marshal(),
            ]
        ),
        "more properties": simple.data.replace(
            simple.frames[1], simple.frames[1][:-3] + b"\0\1" + b"\xce"
        ),
        "another length of the body": simple.frames[0]
        + simple.frames[1]
        + frame.Body(3, b"votes").marshal(),
        "a wrong end of the header": simple.frames[0]
        + simple.frames[1][:-1]
        + b"\0"
        + simple.frames[2],
        "a wrong end of the method": simple.data.replace(b"submitted\xce", b"submitted\0"),
    }
    taking = listener(seen)
    for what, data in others.items():
        assert deliver(data, 0, taking) == OTHER, what
    taking.pass_on()
    assert not seen
    assert deliver(simple.data, 0, taking) == len(simple.data)
    for what, data in others.items():
        assert deliver(data, 0, taking) == OTHER, f"{what}, after a delivery"
    taking.pass_on()
    assert seen == [simple.seen]
    taking.end(3, "ctag1")
    assert deliver(simple.data, 0, taking) == OTHER, "after a cancel"


class Reading(FrameConnection):
    """A connection that is given what its socket brings."""

    def __init__(self, seen: Seen, others: list[int]) -> None:
        self.deliveries = listener(seen)
        self.frames_received = self.bytes_received = 0
        self._frame_buffer = b""
        self._seen, self._others = seen, others

    def _process_frame(self, frame_value: object) -> None:
        assert isinstance(frame_value, frame.Method)
        self._others.append(len(self._seen))


@given(st.lists(deliveries, max_size=3), st.lists(deliveries, max_size=3), st.data())
def test_a_consumer_has_its_deliveries_before_the_frame_behind_them(
    before: list[SentDelivery], after: list[SentDelivery], data: st.DataObject
) -> None:
    cancelled = frame.Method(3, spec.Basic.CancelOk("ctag1")).marshal()
    sent = b"".join(
        [*(one.data for one in before), cancelled, *(one.data for one in after), cancelled]
    )
    cut = data.draw(st.integers(0, len(sent)))
    seen: Seen = []
    others: list[int] = []
    reading = Reading(seen, others)
    for data_in in (sent[:cut], sent[cut:]):
        reading._on_data_available(data_in)
    assert seen == [one.seen for one in (*before, *after)]
    assert others == [len(before), len(before) + len(after)]
    assert reading.bytes_received == len(sent)
    assert reading.frames_received == 3 * len(seen)
