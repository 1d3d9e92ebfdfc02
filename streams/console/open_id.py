"""Login by OpenID Connect: the authorization code flow with PKCE, state and nonce."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from streams.errors import ServiceUnavailable, SettingsError
from streams.settings.processes import OpenIdConfig

if TYPE_CHECKING:
    from joserfc.jwk import KeySetSerialization

PENDING_S: Final = 600
MAX_PENDING: Final = 1000
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_ALGORITHMS: Final = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]
_LEEWAY_S: Final = 30


class LoginRefused(Exception):
    """The provider's answer does not let anybody in; the text is for the operator."""


@dataclass(frozen=True)
class _Pending:
    nonce: str
    verifier: str
    browser: str
    """Value of the cookie of the browser that began."""
    began_s: float


@dataclass
class OpenIdLogin:
    """Asks one provider who somebody is.

    Args:
        config: of the provider.
        callback: address of the console to which the provider sends the browser back.
    """

    config: OpenIdConfig
    callback: str
    _pending: dict[str, _Pending] = field(default_factory=dict)

    def __post_init__(self) -> None:
        issuer = urlsplit(self.config.issuer)
        local = issuer.hostname in {"localhost", "127.0.0.1", "::1"}
        if issuer.scheme != "https" and not (issuer.scheme == "http" and local):
            raise SettingsError(
                "The provider of logins must be asked over HTTPS",
                where={"variable": "SCRUTIN_CONSOLE_OIDC_ISSUER"},
                todo="Write its address as https://...",
            )

    async def begin(self) -> tuple[str, str]:
        """Begin a login: the address to send the browser to, and the value of its cookie.

        Raises:
            ServiceUnavailable: the provider does not answer.
            LoginRefused: too many logins are pending, or it is another provider.
        """
        about = await self._discovered()
        now_s = time.monotonic()
        for state in [s for s, one in self._pending.items() if now_s - one.began_s > PENDING_S]:
            del self._pending[state]
        if len(self._pending) >= MAX_PENDING:
            raise LoginRefused("Too many logins are pending. Try again in some minutes.")
        state, nonce, verifier, browser = (secrets.token_urlsafe(32) for _ in range(4))
        self._pending[state] = _Pending(nonce, verifier, browser, now_s)
        challenge = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": self.callback,
            "scope": "openid email",
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return f"{about['authorization_endpoint']}?{urlencode(query)}", browser

    async def finish(self, query: Mapping[str, str], browser: str) -> str:
        """The name of the operator whom the provider sent back.

        Args:
            query: of the callback.
            browser: value of the cookie.

        Raises:
            LoginRefused: the answer is not one to this browser's login, or not for an operator.
            ServiceUnavailable: the provider does not answer.
        """
        begun = self._pending.pop(query.get("state", ""), None)
        if (
            begun is None
            or time.monotonic() - begun.began_s > PENDING_S
            or not hmac.compare_digest(begun.browser.encode(), browser.encode(errors="replace"))
        ):
            raise LoginRefused("This login was not begun in this browser, or too long ago.")
        if "code" not in query:
            raise LoginRefused("The provider refused the login.")
        about = await self._discovered()
        answer = await self._ask(
            about["token_endpoint"],
            data={
                "grant_type": "authorization_code",
                "code": query["code"],
                "redirect_uri": self.callback,
                "code_verifier": begun.verifier,
            },
        )
        keys = await self._ask(about["jwks_uri"])
        claims = self._claims(str(answer.get("id_token", "")), keys, begun.nonce)
        return self._operator(claims)

    def _claims(self, token: str, keys: dict[str, Any], nonce: str) -> dict[str, Any]:
        registry = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self.config.issuer},
            aud={"essential": True, "value": self.config.client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            found = jwt.decode(
                token,
                KeySet.import_key_set(cast("KeySetSerialization", keys)),
                algorithms=_ALGORITHMS,
            )
            registry.validate(found.claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise LoginRefused("The provider's token is not valid.") from error
        return dict(found.claims)

    def _operator(self, claims: Mapping[str, Any]) -> str:
        names = [str(claims["sub"])]
        if claims.get("email") and claims.get("email_verified") is True:
            names.insert(0, str(claims["email"]))
        for name in names:
            if name in self.config.operators:
                return name
        raise LoginRefused("You are known to the provider, but you are no operator here.")

    async def _discovered(self) -> dict[str, Any]:
        base = self.config.issuer.rstrip("/")
        about = await self._ask(f"{base}/.well-known/openid-configuration")
        if about.get("issuer") != self.config.issuer:
            raise LoginRefused("The provider names another issuer than the settings.")
        return about

    async def _ask(self, url: str, data: Mapping[str, str] | None = None) -> dict[str, Any]:
        login = f"{quote(self.config.client_id)}:{quote(self.config.client_secret)}"
        basic = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        try:
            async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
                request = (
                    session.get(url)
                    if data is None
                    else session.post(url, data=data, headers=basic)
                )
                async with request as answer:
                    found = await answer.json(content_type=None)
                    if answer.status != 200 or not isinstance(found, dict):
                        raise LoginRefused("The provider refused the login.")
                    return found
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ServiceUnavailable(
                "The provider of logins does not answer",
                where={"issuer": self.config.issuer},
                todo="Log in by key, or check SCRUTIN_CONSOLE_OIDC_ISSUER",
            ) from error
