"""AsyncAPI 3 and JSON Schema of every message, made from the types in `schemas/`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.codec import ChangelogRecord, InputRecord
from schemas.notices import Notice
from schemas.review import Review
from schemas.verdicts import VerdictBatch
from schemas.windows import WindowKey, WindowState
from streams.core.topics import (
    CONTROL_TOPIC,
    VALIDATED_TOPIC,
    VALIDATION_TOPIC,
    WINDOWS_TOPIC,
    changelog_topic,
)
from streams.messages import incoming
from streams.settings.queues import AGGREGATION, REVIEW, VALIDATION

_REF: Final = "#/components/schemas/{name}"
_MSGPACK: Final = "application/msgpack"
_JSON: Final = "application/json"
_APP: Final = "scrutin"

_TOPICS: Final[dict[str, tuple[str, Any, Any, str]]] = {
    "inputLog": (VALIDATION_TOPIC, InputRecord, None, "The input log: a genesis, then all votes."),
    "verdicts": (
        VALIDATED_TOPIC,
        VerdictBatch,
        None,
        "One batch of verdicts for each record of the input log.",
    ),
    "voted": (
        changelog_topic(_APP),
        ChangelogRecord,
        None,
        "The voted table: what each record of the input log changed; the key is its offset.",
    ),
    "windows": (
        WINDOWS_TOPIC,
        WindowState,
        WindowKey,
        "Committed votes of each window, contest and choice; compacted.",
    ),
    "control": (CONTROL_TOPIC, Notice, None, "What processes tell each other."),
}
"""Channel -> topic, value, key, description."""


def asyncapi() -> dict[str, Any]:
    """The whole document.

    MessagePack arrays are described as JSON arrays with `prefixItems`, binary as base64 strings:
    what a reader gets that turns one into the other.
    """
    types = [t for _, value, key, _ in _TOPICS.values() for t in (value, key) if t is not None]
    schemas, components = msgspec.json.schema_components([*types, Review], ref_template=_REF)
    found = dict(zip(map(repr, [*types, Review]), schemas, strict=True))
    channels: dict[str, Any] = {
        "votes": {
            "address": VALIDATION,
            "description": "Votes to validate. Queue of RabbitMQ, used as it is, else durable.",
            "servers": [{"$ref": "#/servers/rabbitmq"}],
            "messages": {"vote": {"$ref": "#/components/messages/vote"}},
        },
        "validatedVotes": {
            "address": AGGREGATION,
            "description": "Votes that somebody else has validated.",
            "servers": [{"$ref": "#/servers/rabbitmq"}],
            "messages": {"vote": {"$ref": "#/components/messages/vote"}},
        },
        "reviews": {
            "address": REVIEW,
            "description": "One message for each vote that was not counted; at least once.",
            "servers": [{"$ref": "#/servers/rabbitmq"}],
            "messages": {"review": {"$ref": "#/components/messages/review"}},
        },
    }
    messages: dict[str, Any] = {
        "vote": _message("vote", _JSON, _vote(), "A vote, as clients send it."),
        "review": _message("review", _JSON, found[repr(Review)], "A vote that was not counted."),
    }
    operations: dict[str, Any] = {
        "takeVotes": _operation("receive", "votes", "vote"),
        "takeValidatedVotes": _operation("receive", "validatedVotes", "vote"),
        "sendReviews": _operation("send", "reviews", "review"),
    }
    for name, (topic, value, key, about) in _TOPICS.items():
        channels[name] = {
            "address": topic,
            "description": about,
            "servers": [{"$ref": "#/servers/kafka"}],
            "messages": {"record": {"$ref": f"#/components/messages/{name}"}},
        }
        messages[name] = _message(name, _MSGPACK, found[repr(value)], about)
        if key is not None:
            messages[name]["x-key"] = found[repr(key)]
        operations[f"write{name[0].upper()}{name[1:]}"] = _operation("send", name, "record")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Scrutin",
            "version": "1",
            "description": "Votes in by RabbitMQ, the count in PostgreSQL. Made by `scrutin"
            " schema`; topics and queues have the names of the default settings.",
        },
        "defaultContentType": _JSON,
        "servers": {
            "rabbitmq": {"host": "localhost:5672", "protocol": "amqp"},
            "kafka": {"host": "localhost:9092", "protocol": "kafka"},
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": dict(sorted(components.items()))},
    }


def _message(name: str, content_type: str, payload: Any, about: str) -> dict[str, Any]:
    return {"name": name, "contentType": content_type, "summary": about, "payload": payload}


def _operation(action: str, channel: str, message: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _vote() -> dict[str, Any]:
    """What a client may send; several spellings of one fact must agree."""
    text = {"type": "string", "minLength": 1}
    hash_ = {**text, "maxLength": incoming.MAX_HASH_BYTES, "description": "The voter's hash."}
    id_ = {**text, "maxLength": incoming.MAX_ID_BYTES}
    candidate = {"anyOf": [id_, {"type": "integer"}]}
    choice = {**id_, "description": "`oui` or `non`, in any case."}
    when = {
        "anyOf": [{"type": "string"}, {"type": "number"}],
        "description": "ISO 8601 (UTC without an offset) or epoch seconds; absent: now.",
    }

    def one_of(*names: str) -> dict[str, Any]:
        return {"anyOf": [{"required": [name]} for name in names]}

    return {
        "type": "object",
        "properties": {
            **dict.fromkeys(("vote_hash", "voter_hash", "hash"), hash_),
            "law_id": id_,
            "candidate_id": candidate,
            "election_id": candidate,
            **dict.fromkeys(("choice", "vote"), choice),
            **dict.fromkeys(("timestamp", "vote_timestamp"), when),
            "citizen_id": {"anyOf": [id_, {"type": "null"}]},
        },
        "allOf": [
            one_of("vote_hash", "voter_hash", "hash"),
            {
                "anyOf": [
                    {"required": ["candidate_id"]},
                    {"required": ["law_id"], **one_of("choice", "vote")},
                ]
            },
        ],
        "additionalProperties": True,
        "description": "Unknown fields are kept as the vote's metadata.",
    }
