"""Settings without pydantic are the settings that were read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.config import load
from sidecar.config.parcel import pack
from sidecar.config.plain import use_plain_settings

_ROOT = Path(__file__).parents[2]
_CONFIGS = [
    None,
    _ROOT / "examples" / "hospital" / "sidecar.yaml",
    _ROOT / "examples" / "balances" / "sidecar.yaml",
    _ROOT / "tests" / "contract" / "sidecar.yaml",
]
# Says what it makes of the settings that it gets, setting by setting, and what else it has in memory.
_PLAIN = """
import sys
from sidecar.config.plain import use_plain_settings
use_plain_settings()
from sidecar.config.parcel import unpack

def told(value):
    if hasattr(value, "model_fields"):
        properties = [name for name, kind in vars(type(value)).items() if isinstance(kind, property)]
        return {name: told(getattr(value, name)) for name in (*type(value).model_fields, *properties)}
    if isinstance(value, dict):
        return {key: told(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(told(item) for item in value)
    return value

settings = unpack(sys.stdin.buffer.read())
changed = settings.model_copy(update={"tenant": "other"})
print([name for name in ("pydantic", "pydantic_core", "yaml") if name in sys.modules])
print(changed.tenant, settings.tenant, changed == settings, settings == settings.model_copy(update={}))
try:
    settings.tenant = "other"
except AttributeError:
    print("frozen")
print(told(settings))
"""


def _told(value: Any) -> Any:
    if hasattr(type(value), "model_fields"):
        properties = [name for name, kind in vars(type(value)).items() if isinstance(kind, property)]
        return {name: _told(getattr(value, name)) for name in (*type(value).model_fields, *properties)}
    if isinstance(value, dict):
        return {key: _told(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_told(item) for item in value)
    return value


@pytest.mark.parametrize("config", _CONFIGS, ids=["defaults", "hospital", "balances", "contract"])
def test_every_setting_is_the_same(config: Path | None) -> None:
    """By name and by value, with what sections say of themselves, and nothing in memory of what has read them."""
    settings = load(config, {"LEDGER_URL": "postgresql://ledger/db"}, {"tenant": "own"})
    ended = subprocess.run([sys.executable, "-c", _PLAIN], input=pack(settings), capture_output=True, check=True)
    lines = ended.stdout.decode().splitlines()
    assert ["[]", "other own False True", "frozen"] == lines[:3]
    assert str(_told(settings)) == lines[3]


def test_defaults_that_code_asks_for_are_the_same() -> None:
    """A section that is not given, such as `write_behind`, is made of its defaults where it is used."""
    code = (
        "from sidecar.config.behind import BehindSettings as B; b = B(batch=7); "
        "print({n: getattr(b, n) for n in B.model_fields})"
    )
    plain = "from sidecar.config.plain import use_plain_settings; use_plain_settings(); "
    told = [
        subprocess.run([sys.executable, "-c", before + code], capture_output=True, check=True).stdout
        for before in ("", plain)
    ]
    assert b"'batch': 7" in told[0]
    assert told[0] == told[1]


def test_it_is_decided_before_the_first_class() -> None:
    """A process has one kind of settings."""
    with pytest.raises(RuntimeError, match="already"):
        use_plain_settings()
