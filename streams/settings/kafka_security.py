"""Kafka bootstrap addresses with their security settings."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pydantic import SecretStr

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True)
class Security:
    """Protocol and credentials of Kafka clients."""

    protocol: Protocol
    context: ssl.SSLContext | None = None
    """Set for SSL and SASL_SSL."""
    mechanism: Mechanism = "SCRAM-SHA-512"
    user: str = ""
    password: SecretStr | None = None

    @property
    def sasl(self) -> bool:
        """Whether clients authenticate with SASL."""
        return self.protocol.startswith("SASL")

    @property
    def secret(self) -> str:
        """The password as plain text; empty if there is none."""
        return self.password.get_secret_value() if self.password else ""

    def options(self) -> dict[str, Any]:
        """Arguments for aiokafka's clients."""
        if not self.sasl:
            return {"security_protocol": self.protocol, "ssl_context": self.context}
        return {
            "security_protocol": self.protocol,
            "ssl_context": self.context,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.user,
            "sasl_plain_password": self.secret,
        }


PLAINTEXT: Final = Security("PLAINTEXT")


class Broker(str):
    """`host:port` with its security settings. A plain `str` address means no encryption."""

    __slots__ = ("security",)
    security: Security

    def __new__(cls, address: str, security: Security) -> Self:
        """Attach security settings to an address."""
        self = super().__new__(cls, address)
        self.security = security
        return self


def client(servers: Sequence[str]) -> dict[str, Any]:
    """Connection arguments for any aiokafka client.

    Args:
        servers: `host:port` each; the security settings of the first apply to all.
    """
    first = servers[0] if servers else ""
    options = first.security.options() if isinstance(first, Broker) else {}
    return {"bootstrap_servers": list(servers), **options}
