"""Time zones by name: the system's database, or the package `tzdata` where that is installed."""

from __future__ import annotations

from zoneinfo import ZoneInfo


def find_zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name; raises ValueError with a sentence."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found; a name that is none; a folder
        pass
    try:
        ZoneInfo("Europe/Berlin")
    except KeyError:
        raise ValueError("this system has no time zone database; install its package `tzdata`") from None
    raise ValueError("is no time zone that this system knows; an IANA name is wanted, such as Europe/Berlin")


def check_zone(name: str) -> str:
    """Return the name of a time zone that exists; raises ValueError with a sentence."""
    find_zone(name)
    return name
