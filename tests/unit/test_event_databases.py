"""Where an event's database is, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sidecar.config import load
from sidecar.config.databases import DatabaseAddress
from sidecar.errors import StartupError
from sidecar.translate_events import event_database, event_warnings
from sidecar.translate_origins import origin_warnings

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.config.model import Settings

FAR = "postgresql://app@db.example/bank"
FAR_TLS = f"{FAR}?sslmode=verify-full"


def settings_of(tmp_path: Path, database: str, origin: str = "url_env: LEDGER") -> Settings:
    """Return settings with an event of a database."""
    path = tmp_path / "sidecar.yaml"
    path.write_text(f"""
origins: {{ledger: {{kind: postgres, {origin}}}}}
caches: {{balances: {{}}}}
events:
  posted:
    postgres: {{channels: [posted], {database}}}
    rules: [{{cache: balances, keys: ["{{id}}"]}}]
""")
    return load(path, {})


def address(settings: Settings, **environ: str) -> DatabaseAddress:
    """Return where the event's database is."""
    postgres = settings.events["posted"].postgres
    assert postgres is not None
    return event_database("posted", postgres, settings, environ)


def test_an_origin_lends_its_url_and_password(tmp_path: Path) -> None:
    """Whichever way they are given."""
    settings = settings_of(tmp_path, "origin: ledger", "url_env: LEDGER, password_env: SECRET")
    assert DatabaseAddress(FAR_TLS, "hush") == address(settings, LEDGER=FAR_TLS, SECRET="hush")
    assert DatabaseAddress(FAR) == address(settings_of(tmp_path, "origin: ledger", f"url: '{FAR}'"))


def test_an_event_may_have_a_url_of_its_own(tmp_path: Path) -> None:
    """In the settings, or in the environment."""
    assert DatabaseAddress(FAR) == address(settings_of(tmp_path, f"url: '{FAR}'"))
    assert DatabaseAddress(FAR) == address(settings_of(tmp_path, "url_env: OTHER"), OTHER=FAR)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "events.posted.postgres.url_env: the environment variable OTHER is not set"),
        ({"OTHER": "mysql://u:hunter2@h/d"}, "url_env: OTHER: the database's URL must begin with postgresql://"),
        ({"OTHER": "postgresql:///d"}, "url_env: OTHER: the database's URL must name a host"),
        ({"OTHER": "postgresql://[hunter2"}, "url_env: OTHER: the host or port of the database's URL is not valid"),
    ],
)
def test_a_variable_is_checked_as_the_setting_is(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    """And what it holds is not repeated."""
    with pytest.raises(StartupError) as caught:
        address(settings_of(tmp_path, "url_env: OTHER"), **environ)
    assert (True, False) == (said in str(caught.value), "hunter2" in str(caught.value))


def test_a_variable_of_the_origin_is_named_as_the_origins(tmp_path: Path) -> None:
    """That is where it is mended."""
    with pytest.raises(StartupError, match=r"origins\.ledger\.url_env: the environment variable LEDGER is not set"):
        address(settings_of(tmp_path, "origin: ledger"))


@pytest.mark.parametrize(
    ("database", "environ", "of_events", "of_origins"),
    [
        ("origin: ledger", {"LEDGER": FAR}, 0, 1),
        ("origin: ledger", {"LEDGER": FAR_TLS}, 0, 0),
        (f"url: '{FAR}'", {}, 1, 0),
        (f"url: '{FAR_TLS}'", {}, 0, 0),
        ("url_env: OTHER", {"OTHER": FAR}, 1, 0),
        ("url_env: OTHER", {"OTHER": "postgresql://[hunter2"}, 0, 0),
        ("url: 'postgresql://app@127.0.0.1/bank'", {}, 0, 0),
    ],
)
def test_a_connection_in_the_clear_is_warned_of_once(
    tmp_path: Path, database: str, environ: dict[str, str], of_events: int, of_origins: int
) -> None:
    """Of an event as of an origin, also where the environment says the URL."""
    settings = settings_of(tmp_path, database)
    told = (event_warnings(settings, environ), origin_warnings(settings, environ))
    assert ((of_events, of_origins), True) == (
        (len(told[0]), len(told[1])), all("add ?sslmode=verify-full" in line for lines in told for line in lines),
    )  # fmt: skip
