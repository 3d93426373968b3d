"""Store URLs: what they mean, and that what is wrong with them is said without repeating them."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.addresses import StoreUrl, parse_url
from sidecar.store.address import StoreAddress


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://db", StoreUrl(host="db")),
        ("redis://db:7000/3", StoreUrl(host="db", port=7000, database=3)),
        ("redis://:secret@db", StoreUrl(host="db", password="secret")),
        ("redis://app:p%40ss@db/", StoreUrl(host="db", username="app", password="p@ss")),
        ("rediss://db:6380", StoreUrl(host="db", port=6380, tls=True)),
        ("redis://[::1]:6379", StoreUrl(host="::1")),
        ("unix:///run/redis.sock", StoreUrl(path="/run/redis.sock")),
        (
            "unix://app:x@/run/redis.sock?db=2",
            StoreUrl(path="/run/redis.sock", username="app", password="x", database=2),
        ),
    ],
)
def test_the_parts_are_found(url: str, expected: StoreUrl) -> None:
    """Each form of URL."""
    assert expected == parse_url(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://:secret@db", "must begin with"),
        ("redis://:secret@", "must name a host"),
        ("redis://:secret@db/x", "must be a number"),
        ("redis://:secret@db:99999", "host or port"),
        ("unix://:secret@run/redis.sock?db=x", "must be a number"),
        ("unix://:secret@", "absolute path"),
    ],
)
def test_a_problem_is_named_and_no_secret(url: str, problem: str) -> None:
    """The URL may hold a password, so it is not repeated."""
    with pytest.raises(ValueError, match=problem) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=80))
def test_random_text_is_an_address_or_one_clear_error(text: str) -> None:
    """F27 in small: nothing else comes out."""
    for prefix in ("", "redis://", "unix://"):
        with contextlib.suppress(ValueError):
            assert parse_url(prefix + text)


def test_an_address_is_shown_without_its_secrets() -> None:
    """To people and to debuggers."""
    address = StoreAddress(host="::1", username="app", password="secret", tls=ssl.create_default_context())
    assert ("rediss://[::1]:6379", "StoreAddress(rediss://[::1]:6379)") == (str(address), repr(address))
    assert str(StoreAddress(path="/run/redis.sock")) == "unix:///run/redis.sock"
