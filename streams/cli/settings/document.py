"""The settings as documents: `.env.example`, the table of docs/settings.md, plain data."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any, Final

from pydantic import SecretStr

from streams.settings.load import variables
from streams.settings.model import Settings

GROUPS: Final[Mapping[str, str]] = {
    "rabbitmq_host": "RabbitMQ",
    "postgres_host": "PostgreSQL",
    "redis_host": "Redis",
    "kafka_bootstrap_servers": "Kafka",
    "tls_ca_file": "TLS",
    "batch_size": "Aggregation",
    "metrics_port": "Processes",
    "app_id": "Scrutin",
    "secret": "Gateway",
    "data_dir": "Folders and logs",
    "stages": "Encrypted tally",
    "test_deployment": "Tests only",
}
"""First setting of each group -> its title."""

_COMPUTED: Final = {"worker_id": "host name and process id"}
"""Defaults that differ from process to process, in words."""
_MASK: Final = "********"
_WIDTH: Final = 100


@dataclass(frozen=True)
class DescribedSetting:
    """One setting."""

    field: str
    group: str
    variables: tuple[str, ...]
    """The preferred name first."""
    default: str
    """As one would write it; empty if it is computed."""
    about: str
    secret: bool


def described() -> list[DescribedSetting]:
    """All settings in the order of the class."""
    names = variables()
    group = ""
    found = []
    for field, info in Settings.model_fields.items():
        group = GROUPS.get(field, group)
        computed = _COMPUTED.get(field)
        about = info.description or ""
        found.append(
            DescribedSetting(
                field=field,
                group=group,
                variables=names[field],
                default="" if computed else written(info.default),
                about=f"{about}; default: {computed}" if computed else about,
                secret=info.annotation is SecretStr,
            )
        )
    return found


def written(value: Any) -> str:
    """A value as one would write it into an environment variable."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)


def current(settings: Settings, one: DescribedSetting) -> str:
    """The value in force; a secret only as set or not."""
    value = written(getattr(settings, one.field))
    if one.secret:
        return _MASK if value else ""
    return value


def env_example() -> str:
    """The text of `.env.example`."""
    lines = [
        "# All settings of Scrutin with their defaults. Copy to .env and change what differs;",
        "# the environment goes before .env. Made by `scrutin settings --env-example`.",
    ]
    for group, members in _grouped():
        lines += ["", f"# --- {group} ---"]
        for one in members:
            about = one.about
            if len(one.variables) > 1:
                about += f" (also {', '.join(one.variables[1:])})"
            lines += textwrap.wrap(about, _WIDTH, initial_indent="# ", subsequent_indent="# ")
            lines.append(f"{one.variables[0]}={one.default}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The settings table of docs/settings.md."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for group, members in _grouped():
        lines.append(f"| **{group}** | | |")
        for one in members:
            names = ", ".join(f"`{name}`" for name in one.variables)
            default = f"`{one.default}`" if one.default else ""
            about = one.about.replace("|", "\\|")
            lines.append(f"| {names} | {default} | {about} |")
    return "\n".join(lines) + "\n"


def _grouped() -> Iterator[tuple[str, Iterator[DescribedSetting]]]:
    return groupby(described(), key=lambda one: one.group)
