"""What PostgreSQL's error codes say about a call (its manual, appendix A). Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Verdict(Enum):
    """What became of a statement that failed."""

    LOST = "lost"
    """The connection is gone; another may do."""
    AGAIN = "again"
    """It got into another transaction's way and was undone; repeated, it may succeed."""
    LATE = "late"
    """The server gave it up, since it took too long."""
    UNAVAILABLE = "unavailable"
    """The server cannot do anything of the kind now."""
    UNFIT = "unfit"
    """The statement, or what it is about, is not as it should be, whatever the data: a fault of the configuration."""
    REFUSED = "refused"
    """It will never be done."""


_BY_CODE: Final = {
    "57014": Verdict.LATE,  # query_canceled, by statement_timeout
    "57P01": Verdict.LOST,  # admin_shutdown
    "57P02": Verdict.LOST,  # crash_shutdown
    "57P03": Verdict.UNAVAILABLE,  # cannot_connect_now
    "57P05": Verdict.LOST,  # idle_session_timeout
    "25P03": Verdict.LOST,  # idle_in_transaction_session_timeout
    "25006": Verdict.UNAVAILABLE,  # read_only_sql_transaction: this server is no primary any more
    "55P03": Verdict.AGAIN,  # lock_not_available
}
_BY_CLASS: Final = {
    "08": Verdict.LOST,  # connection exceptions
    "28": Verdict.UNAVAILABLE,  # the login is refused
    "3D": Verdict.UNAVAILABLE,  # there is no such database
    "40": Verdict.AGAIN,  # serialization failures, deadlocks
    "3F": Verdict.UNFIT,  # there is no such schema
    "42": Verdict.UNFIT,  # no such table, column or function; no permission; not SQL
    "53": Verdict.UNAVAILABLE,  # no memory, disk or connection left
    "57": Verdict.UNAVAILABLE,
    "58": Verdict.UNAVAILABLE,  # errors of its system
    "XX": Verdict.UNAVAILABLE,  # its own defects
}

INVALID_TEXT: Final = "22021"
"""What PostgreSQL says of text that is not in the database's encoding."""


def verdict_on(code: str) -> Verdict:
    """Return what an SQLSTATE says; whatever is not known better is about the statement and its data."""
    return _BY_CODE.get(code) or _BY_CLASS.get(code[:2], Verdict.REFUSED)


def is_about_data(code: str) -> bool:
    """Say whether a statement failed by what it was given: another key may fare better."""
    return code.startswith("22")
