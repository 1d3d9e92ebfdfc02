"""Loads settings from the environment, `.env`, a TOML file and secret files.

Errors name the variable.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from pydantic import AliasChoices, SecretStr, ValidationError

from streams.errors import SettingsError
from streams.settings.checks import check_queues, check_services, check_test_settings
from streams.settings.model import Settings

_MAX_SECRET_BYTES: Final = 64 * 1024


def variables() -> dict[str, tuple[str, ...]]:
    """Map each field name to its environment variables, the preferred one first."""
    names: dict[str, tuple[str, ...]] = {}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        assert isinstance(alias, AliasChoices)
        names[field] = tuple(str(choice) for choice in alias.choices)
    return names


def secrets() -> tuple[str, ...]:
    """Variables that hold a secret; each can be given as a file instead, as NAME_FILE."""
    names = variables()
    return tuple(
        name
        for field, info in Settings.model_fields.items()
        if info.annotation is SecretStr
        for name in names[field]
    )


CONFIG: Final = "SCRUTIN_CONFIG"
"""Variable that names the TOML file."""


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the settings: the environment, then `.env` in the folder, then the file SCRUTIN_CONFIG.

    Raises:
        SettingsError: unknown `SCRUTIN_*`, malformed value, aliases that disagree, or settings
            that contradict each other; the message names the variables.
    """
    given = {name: value for layer in _layers(environ, dotenv) for name, value in layer[1].items()}
    given = _read_secret_files(given, secrets())
    _refuse_unknown(given)
    values = _one_value_each(given)
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise _explain(error) from error
    check_queues(settings)
    check_services(settings)
    check_test_settings(settings)
    return settings


def sources(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> dict[str, str]:
    """Where each field's value comes from, if it is not the default: `environment` or a file."""
    found: dict[str, str] = {}
    for source, layer in _layers(environ, dotenv):
        for field, names in variables().items():
            if any(layer.get(name) or layer.get(f"{name}_FILE") for name in names):
                found[field] = source
    return found


def _layers(
    environ: Mapping[str, str] | None, dotenv: Path | None
) -> list[tuple[str, dict[str, str]]]:
    """Source and variables of each layer; a later one takes precedence over those before."""
    layers = []
    if environ is None:
        path = dotenv or Path(".env")
        if path.is_file():
            values = {k: v for k, v in dotenv_values(path).items() if v is not None}
            layers.append((str(path), values))
        environ = os.environ
    layers.append(("environment", dict(environ)))
    above = {name: value for _, layer in layers for name, value in layer.items()}
    if above.get(CONFIG):
        layers.insert(0, (above[CONFIG], _read_config(Path(above[CONFIG]), above)))
    return layers


def _read_config(path: Path, above: Mapping[str, str]) -> dict[str, str]:
    """Variables of the TOML file, except for settings that a layer above has, by any name.

    Raises:
        SettingsError: it cannot be read, or holds what is no setting.
    """
    where: dict[str, object] = {"variable": CONFIG, "file": path}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"The file of settings cannot be read: {error}",
            where=where,
            todo='Write a line such as POSTGRES_HOST = "db-1" for each setting',
        ) from error
    hidden = set(secrets())
    kept: dict[str, str] = {}
    for names in variables().values():
        every = [
            n for name in names for n in (name, f"{name}_FILE") if n in {*names} | _files(hidden)
        ]
        found = {name: values.pop(name) for name in every if name in values and name != CONFIG}
        if not any(above.get(name) for name in every):
            kept |= {name: _text(name, value, where) for name, value in found.items()}
    if values:
        raise SettingsError(
            "Unknown settings",
            where={**where, "variable": ", ".join(sorted(values))},
            todo="Name settings as in the environment; `.env.example` lists all",
        )
    return kept


def _files(secret: set[str]) -> set[str]:
    return {f"{name}_FILE" for name in secret}


def _text(name: str, value: Any, where: Mapping[str, object]) -> str:
    """A value of TOML as it would be in the environment."""
    if isinstance(value, list):
        return ",".join(_text(name, one, where) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise SettingsError(
        "This is no value of a setting",
        where={**where, "variable": name},
        todo="Write a text, a number, true, false or a list of these",
    )


def _read_secret_files(given: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
    """Replace each NAME_FILE of a secret by NAME with the content of the file.

    Line breaks at the end are removed: editors and `echo` add one.

    Args:
        given: environment variables.
        secrets: names of the variables that hold secrets.

    Raises:
        SettingsError: a file cannot be read or is empty, or the variable is set too and differs.
    """
    found = dict(given)
    for name in secrets:
        variable = f"{name}_FILE"
        path = found.pop(variable, "")
        if not path:
            continue
        value = _secret_in(variable, path)
        if found.get(name, "") not in {"", value}:
            raise SettingsError(
                "A secret and its file disagree",
                where={"variable": f"{name}, {variable}"},
                todo=f"Set only {variable}",
            )
        found[name] = value
    return found


def _secret_in(variable: str, path: str) -> str:
    where: dict[str, object] = {"variable": variable, "file": path}
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MAX_SECRET_BYTES)
        value = raw.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        # The error's text may contain the secret.
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(
            f"The file of a secret cannot be read: {reason}",
            where=where,
            todo="Name a file that this process can read",
        ) from None
    if not value:
        raise SettingsError(
            "The file of a secret is empty", where=where, todo="Write the secret into it"
        )
    return value


def _refuse_unknown(given: Mapping[str, str]) -> None:
    known = {name for names in variables().values() for name in names}
    unknown = sorted(
        name
        for name in given
        if name.startswith("SCRUTIN_")
        and not name.startswith("SCRUTIN_TEST_")
        and name not in known
    )
    if unknown:
        raise SettingsError(
            "Unknown settings",
            where={"variable": ", ".join(unknown)},
            todo="Correct or unset them; `.env.example` lists all",
        )


def _one_value_each(given: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for field, names in variables().items():
        found = {name: given[name] for name in names if given.get(name, "") != ""}
        if len(set(found.values())) > 1:
            raise SettingsError(
                "Two names of the same setting disagree",
                where={"variable": ", ".join(found)},
                todo=f"Set only {names[0]}",
            )
        if found:
            values[field] = next(iter(found.values()))
    return values


def _explain(error: ValidationError) -> SettingsError:
    names = variables()
    faults = []
    for fault in error.errors():
        # pydantic reports the alias it tried, or the field name if it was populated by name.
        place = str(fault["loc"][0])
        variable = names[place][0] if place in names else place
        faults.append(f"{variable}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    return SettingsError(
        "; ".join(faults), todo="See `.env.example` for the meaning and default of each setting"
    )
