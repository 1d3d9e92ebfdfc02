"""Documents made from the settings are up to date, complete and true."""

from __future__ import annotations

import re
from pathlib import Path

from dotenv import dotenv_values

from streams.cli.settings.document import GROUPS, current, described, env_example, markdown
from streams.settings.load import load_settings, variables
from streams.settings.model import Settings

ROOT = Path(__file__).parents[3]


def test_env_example_is_up_to_date() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert text == env_example(), "run `scrutin settings --env-example > .env.example`"


def test_env_example_gives_the_defaults() -> None:
    given = {k: v or "" for k, v in dotenv_values(ROOT / ".env.example").items()}
    loaded, plain = load_settings(given), load_settings({})
    assert loaded.model_dump() == plain.model_dump()


def test_env_example_names_every_variable() -> None:
    text = env_example()
    for names in variables().values():
        for name in names:
            assert re.search(rf"\b{name}\b", text), name


def test_the_page_has_the_settings_table() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", page, re.DOTALL)
    assert found, "docs/settings.md has no <!-- settings --> markers"
    assert found[1].strip() == markdown().strip(), "put `scrutin settings --markdown` there"


def test_groups_begin_at_settings_that_exist() -> None:
    assert set(GROUPS) <= set(Settings.model_fields)
    assert all(one.group for one in described())


def test_every_setting_says_what_it_is_for() -> None:
    assert [one.field for one in described() if len(one.about) < 5] == []


def test_secrets_are_hidden() -> None:
    names = {"RABBITMQ_PASSWORD": "s3cret-r", "POSTGRES_PASSWORD": "s3cret-p"}
    loaded = load_settings(names)
    shown = {one.field: current(loaded, one) for one in described()}
    assert "s3cret" not in str(shown)
    assert shown["rabbitmq_password"] == "********"
    assert shown["redis_password"] == ""
    secret = {one.field for one in described() if one.secret}
    assert secret == {"secret", "proof_secret", "console_oidc_client_secret"} | {
        name for name in Settings.model_fields if "password" in name
    }
