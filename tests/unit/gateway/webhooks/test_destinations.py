"""Where webhooks may go."""

from __future__ import annotations

import pytest

from streams.errors import SettingsError
from streams.gateway.webhooks.destinations import (
    AddressRefused,
    PublicResolver,
    checked_url,
    is_public,
)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
    ],
)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9", "64:ff9b::909:909"]
)
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("", "news.example", "ftp://news.example/x", "file:///etc/passwd", "https://"),
        *("http://news.example/", "https://u:p@news.example/", "https://news.example/#f"),
        *("https://127.0.0.1/", "https://[::1]/", "https://localhost/", "https://a.localhost/"),
        *("https://[::ffff:10.0.0.1]/", f"https://news.example/{'x' * 2000}"),
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        checked_url(url, inside=False)


def test_allowed() -> None:
    assert checked_url("https://news.example/hook?x=1", inside=False)
    assert checked_url("http://10.0.0.1:8080/hook", inside=True)
    with pytest.raises(SettingsError):
        checked_url("ftp://10.0.0.1/", inside=True)


@pytest.mark.parametrize("name", ["localhost", "127.1", "2130706433", "0x7f000001"])
async def test_a_name_of_a_private_address_is_refused_when_it_is_resolved(name: str) -> None:
    resolver = PublicResolver()
    with pytest.raises(AddressRefused):
        await resolver.resolve(name, 443)
    await resolver.close()
