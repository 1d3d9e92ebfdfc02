"""TLS to the services: builds the client context and explains failed handshakes."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path

from streams.errors import SettingsError


@cache
def client_context(
    ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """A context that verifies the server's certificate, its host name and validity.

    Args:
        ca_file: CA certificates in PEM; None for those the system trusts.
        cert_file: client certificate in PEM, for services that ask for one.
        key_file: its key; None if it is in `cert_file`.

    Raises:
        SettingsError: a file is missing, or holds no certificate or key.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"The CA certificates cannot be read: {_short(error)}",
            where={"variable": "SCRUTIN_TLS_CA_FILE", "file": ca_file},
            todo="Name a readable file with certificates in PEM",
        ) from error
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"The client certificate or its key cannot be read: {_short(error)}",
                where={
                    "variable": "SCRUTIN_TLS_CERT_FILE, SCRUTIN_TLS_KEY_FILE",
                    "file": cert_file,
                },
                todo="Name readable files in PEM that belong together",
            ) from error
    return context


def refusal(error: BaseException | None) -> str:
    """Why a TLS handshake failed, if that is among the causes of an error; else empty."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {one.verify_message or _short(one)}"
        if isinstance(one, ssl.SSLError):
            return f"TLS fails: {_short(one)}"
        waiting += [one.__cause__, one.__context__]
        # Some drivers keep the original error in an argument or attribute, not as the cause.
        waiting += [arg for arg in one.args if isinstance(arg, BaseException)]
        nested = getattr(one, "exceptions", None) or getattr(one, "exception", None)
        many = nested if isinstance(nested, list | tuple) else [nested]
        waiting += [each for each in many if isinstance(each, BaseException)]
    return ""


def _short(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(reason or error).replace("_", " ").lower()
