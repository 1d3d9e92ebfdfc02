"""Login by OpenID Connect, against a real small provider."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

from streams.console.open_id import LoginRefused, OpenIdLogin
from streams.errors import ServiceUnavailable, SettingsError
from streams.settings.processes import OpenIdConfig

with warnings.catch_warnings():
    # The provider uses parts of its library that have a successor.
    warnings.simplefilter("ignore")
    from oidc_provider_mock import run_server_in_thread

pytestmark = pytest.mark.filterwarnings("ignore")

CALLBACK = "http://localhost:8003/login/callback"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def login_at(issuer: str, *operators: str) -> OpenIdLogin:
    return OpenIdLogin(OpenIdConfig(issuer, "console", "its secret", operators), CALLBACK)


async def consent(address: str, subject: str) -> dict[str, str]:
    """What the provider sends the browser back with, once somebody has logged in there."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(address, data={"sub": subject}, allow_redirects=False) as answer,
    ):
        assert answer.status in {302, 303}, await answer.text()
        back = answer.headers["Location"]
    assert back.startswith(CALLBACK)
    return dict(parse_qsl(urlsplit(back).query))


async def test_an_operator_logs_in(issuer: str) -> None:
    login = login_at(issuer, "ann")
    address, browser = await login.begin()
    assert re.search(r"code_challenge_method=S256", address)
    query = await consent(address, "ann")
    assert await login.finish(query, browser) == "ann"
    # Nobody logs in with the same answer again.
    with pytest.raises(LoginRefused, match="not begun"):
        await login.finish(query, browser)


async def test_who_is_no_operator_is_refused(issuer: str) -> None:
    login = login_at(issuer, "ann")
    address, browser = await login.begin()
    with pytest.raises(LoginRefused, match="no operator"):
        await login.finish(await consent(address, "eve"), browser)


async def test_another_browser_is_refused(issuer: str) -> None:
    login = login_at(issuer, "ann")
    address, _ = await login.begin()
    with pytest.raises(LoginRefused, match="in this browser"):
        await login.finish(await consent(address, "ann"), "another cookie")


async def test_a_token_for_another_login_is_refused(issuer: str) -> None:
    """The code of one login does not serve the state of another: its verifier and nonce differ."""
    login = login_at(issuer, "ann")
    first, _ = await login.begin()
    second, browser = await login.begin()
    code = (await consent(first, "ann"))["code"]
    state = (await consent(second, "ann"))["state"]
    with pytest.raises(LoginRefused):
        await login.finish({"code": code, "state": state}, browser)


async def test_a_token_for_another_client_is_refused(issuer: str) -> None:
    login = login_at(issuer, "ann")
    address, browser = await login.begin()
    query = await consent(address, "ann")
    login.config = dataclasses.replace(login.config, client_id="another")
    with pytest.raises(LoginRefused):
        await login.finish(query, browser)


@pytest.mark.parametrize("address", ["http://login.example.org", "ftp://localhost"])
def test_a_provider_is_asked_over_https(address: str) -> None:
    with pytest.raises(SettingsError, match="HTTPS"):
        login_at(address)


async def test_a_provider_that_does_not_answer_is_named() -> None:
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        await login_at("http://127.0.0.1:1").begin()
