"""Kafka's listener with TLS and SCRAM."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from streams.devstack.certificates import Certificates
from streams.devstack.probes import NotReady
from streams.devstack.service import certificates_of
from streams.devstack.state import ServiceRecord
from streams.settings.kafka_security import Broker, Security, client

USER: Final = "scrutin"
MECHANISM: Final = "SCRAM-SHA-512"
_ITERATIONS: Final = 4096

_CLOSE_S: Final = 0.1


@dataclass(frozen=True)
class Secured:
    """Certificates and password of a broker with TLS."""

    certificates: Certificates
    password: str

    @classmethod
    def of(cls, record: ServiceRecord) -> Secured | None:
        """From a service's record; None if it does not use TLS."""
        found = certificates_of(record)
        return None if found is None else cls(found, record.options["password"])

    def properties(self, home: Path) -> dict[str, str]:
        """Properties of the broker other than its listeners; writes the key file."""
        store = home / "broker.pem"
        store.touch(mode=0o600)
        store.write_bytes(
            self.certificates.key.read_bytes() + self.certificates.certificate.read_bytes()
        )
        jaas = (
            "org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{USER}" password="{self.password}";'
        )
        return {
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "SASL_SSL",
            # The controllers' log holds the passwords, so controllers authenticate each other by
            # certificates of the stack's authority.
            "listener.name.controller.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": MECHANISM,
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": jaas,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.ca),
        }

    def user(self) -> str:
        """The user for `kafka-storage format --add-scram`.

        Salted here (RFC 5802), so that no command line shows the password.
        """
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha512", self.password.encode(), salt, _ITERATIONS)
        return (
            f"{MECHANISM}=[name={USER},iterations={_ITERATIONS},"
            f'salt="{_base64(salt)}",saltedpassword="{_base64(salted)}"]'
        )

    def probe_member(self, address: str, node: int, timeout_seconds: float = 5.0) -> None:
        """Check as a client that the cluster names this broker.

        Raises:
            NotReady: it does not, or accepts no client yet.
        """
        # Not the settings' context, which is cached by path: each stack has its own authority.
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        security = Security("SASL_SSL", context, MECHANISM, USER, SecretStr(self.password))

        async def brokers() -> set[int]:
            async with asyncio.timeout(timeout_seconds):
                asked = AIOKafkaClient(**client([Broker(address, security)]))
                try:
                    await asked.bootstrap()
                    return {broker.nodeId for broker in asked.cluster.brokers()}
                finally:
                    await asked.close()
                    # aiokafka does not wait for the answer with which TLS closes.
                    await asyncio.sleep(_CLOSE_S)

        try:
            found = asyncio.run(brokers())
        except (KafkaError, OSError) as error:
            raise NotReady(str(error) or type(error).__name__) from error
        if node not in found:
            raise NotReady("the broker has not joined the cluster yet")

    def environment(self) -> dict[str, str]:
        """Environment variables by which clients authenticate."""
        return {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": MECHANISM,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": self.password,
        }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
