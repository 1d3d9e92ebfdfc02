"""Choose the backend of each service: given in the environment, else Docker, else native."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from streams.devstack import docker, ports
from streams.devstack.certificates import Certificates
from streams.devstack.service import StackService
from streams.devstack.state import Kind, ServiceRecord, StackRecord
from streams.errors import StackError


def choose(
    record: StackRecord,
    directory: Path,
    wanted: Iterable[StackService],
    environ: Mapping[str, str],
    prefer: Kind | None,
    *,
    certificates: Certificates | None = None,
) -> None:
    """Add the requested services to the record.

    Services in the record take precedence over the environment, which may come from `scrutin
    stack env`.
    """
    own = []
    for service in wanted:
        known = record.services.get(service.name)
        if known is not None and known.kind != "given":
            continue
        given = _given(service, record.id, environ)
        if given is not None:
            record.services[service.name] = given
        elif known is None:
            own.append(service)
    if not own:
        return
    kind = prefer or ("docker" if docker.engine() is not None else "native")
    if kind == "native" and not sys.platform.startswith("linux"):
        raise StackError(
            "Without a Docker engine the stack runs on Linux only",
            where={"platform": sys.platform},
            todo="Start a Docker engine, or give the services' addresses in the environment",
        )
    used = {port for one in record.services.values() for port in one.ports.values()}
    # Redis has no password by default: it listens on loopback only.
    secret = {"password": secrets.token_urlsafe(12)}
    for service in own:
        secured = {} if certificates is None else {"tls": str(certificates.folder), **secret}
        chosen = dict(zip(service.ports, ports.choose(len(service.ports), used), strict=True))
        used |= set(chosen.values())
        home = directory / service.name
        record.services[service.name] = ServiceRecord(
            name=service.name,
            stack=record.id,
            kind=kind,
            host=docker.host() if kind == "docker" else ports.LOOPBACK,
            ports=chosen,
            options=secured | service.options(),
            data=str(home / "data") if kind == "native" else "",
            log=str(home / f"{service.name}.log") if kind == "native" else "",
        )


def _given(
    service: StackService, stack_id: str, environ: Mapping[str, str]
) -> ServiceRecord | None:
    try:
        return service.given(stack_id, environ)
    except ValueError as error:
        raise StackError(
            f"The address of {service.title} in the environment is malformed: {error}",
            todo="Correct its *_PORT or KAFKA_BOOTSTRAP_SERVERS",
        ) from error
