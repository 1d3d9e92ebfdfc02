"""Kafka's listener with TLS and SCRAM."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.devstack.certificates import Certificates
from streams.devstack.service import certificates_of
from streams.devstack.state import ServiceRecord

USER: Final = "scrutin"
MECHANISM: Final = "SCRAM-SHA-512"
_ITERATIONS: Final = 4096


@dataclass(frozen=True)
class Secured:
    """What an encrypted broker needs."""

    certificates: Certificates
    password: str

    @classmethod
    def of(cls, record: ServiceRecord) -> Secured | None:
        """From a service's record; None if it is not encrypted."""
        found = certificates_of(record)
        return None if found is None else cls(found, record.options["password"])

    def properties(self, home: Path) -> dict[str, str]:
        """Properties of the broker beside its listeners; writes the key's file."""
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
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
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

        Salted here (RFC 5802), so that the password is on no command line.
        """
        salt = secrets.token_bytes(16)
        salted = hashlib.pbkdf2_hmac("sha512", self.password.encode(), salt, _ITERATIONS)
        return (
            f"{MECHANISM}=[name={USER},iterations={_ITERATIONS},"
            f'salt="{_base64(salt)}",saltedpassword="{_base64(salted)}"]'
        )

    def environment(self) -> dict[str, str]:
        """How clients get in."""
        return {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": MECHANISM,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": self.password,
        }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
