"""Clients of Kafka where the cluster is not whole."""

from __future__ import annotations

import pytest
from aiokafka.admin import NewTopic

from streams.adapters.kafka.clients import AdminClient
from streams.adapters.kafka.errors import kafka_answers
from streams.errors import ServiceUnavailable


async def test_a_cluster_without_a_controller_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the metadata are for a moment when a frozen broker goes on."""

    async def still_none() -> None:
        """The new metadata name no controller either."""

    servers = ["127.0.0.1:1"]
    admin = AdminClient(bootstrap_servers=servers)
    monkeypatch.setattr(admin._client, "force_metadata_update", still_none)
    with pytest.raises(ServiceUnavailable, match="no controller"), kafka_answers(servers):
        await admin.create_topics([NewTopic("votes", 1, 1)])
    with pytest.raises(ServiceUnavailable, match="no controller"), kafka_answers(servers):
        await admin.delete_topics(["votes"])
