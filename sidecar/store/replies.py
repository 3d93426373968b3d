"""Error replies of the store, in the sidecar's words.

The text of a reply may quote a key or a script's argument, so it goes nowhere; its first word, a code, decides. Codes
that begin with `SC` are raised by the sidecar's own scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sidecar.errors import Reason, SidecarError, StoreError

if TYPE_CHECKING:
    import hiredis

E = TypeVar("E", bound=SidecarError)

# Long enough for a restarted server to load a small data set, short enough not to be noticed.
RETRY_AFTER_MS = 250

_UNAVAILABLE = "the store cannot serve this now; nothing was changed, try again"

# The server, or a script, has refused these without doing anything, and may accept them in a moment.
TRANSIENT_CODES = frozenset(
    {
        "LOADING",
        "MASTERDOWN",
        "READONLY",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "BUSY",
        "NOREPLICAS",
        "MISCONF",
        # The store's clock is not where the sidecar took it to be; the next probe corrects that.
        "SCCLOCK",
    }
)

_KNOWN: dict[str, tuple[Reason, str]] = {
    "WRONGTYPE": (Reason.WRONG_TYPE, "the key holds something of another type"),
    "OOM": (
        Reason.STORE_OUT_OF_MEMORY,
        "the store is at its maxmemory and may not evict; raise it, or choose a policy that evicts",
    ),
    "NOAUTH": (Reason.STORE_DENIED, "the store wants credentials; set store.url or store.password_file"),
    "WRONGPASS": (Reason.STORE_DENIED, "the store refused the user name or password"),
    "NOPERM": (Reason.STORE_DENIED, "the store's ACL denies the sidecar's user a command or key"),
    "SCNOTINT": (Reason.VALUE_NOT_INTEGER, "the stored value is not a decimal integer"),
    "SCRANGE": (Reason.COUNTER_OUT_OF_RANGE, "the sum is beyond what the counter can hold"),
    "SCREUSED": (
        Reason.IDEMPOTENCY_KEY_REUSED,
        "the idempotency key was used for another request; use a new key for each request",
    ),
    "SCBYTES": (Reason.VALUE_TOO_LARGE, "the record would become too large; remove some fields first"),
    "SCFIELDS": (Reason.FIELD_COUNT, "the record would have too many fields; remove some first"),
    "SCFULL": (
        Reason.WRITE_BEHIND_FULL,
        "as many changes wait for the cache's origin as may (write_behind.max_pending); nothing was changed, try again",
    ),
    "SCFORMAT": (
        Reason.ENTRY_MALFORMED,
        "what is stored under the key was not written by a sidecar of this format; delete it first",
    ),
}  # fmt: skip


def code_of(reply: hiredis.ReplyError) -> str:
    """Return the first word of an error reply."""
    return str(reply).split(" ", 1)[0]


def to_error(reply: hiredis.ReplyError) -> StoreError:
    """Return the error that an error reply means to the caller."""
    code = code_of(reply)
    if code in TRANSIENT_CODES:
        return StoreError(
            Reason.STORE_UNAVAILABLE,
            _UNAVAILABLE,
            metadata={"store_code": code},
            retry_after_ms=RETRY_AFTER_MS,
        )
    reason, message = _KNOWN.get(code, (Reason.STORE_ERROR, "the store answered with an error; see store_code"))
    metadata = {} if code.startswith("SC") else {"store_code": code if code.isalpha() else "?"}
    retry_after_ms = RETRY_AFTER_MS if reason in _MAY_PASS else None
    field = "key" if reason in _ABOUT_THE_KEY else None
    return StoreError(reason, message, field=field, metadata=metadata, retry_after_ms=retry_after_ms)


_MAY_PASS = frozenset({Reason.STORE_OUT_OF_MEMORY, Reason.WRITE_BEHIND_FULL})
_ABOUT_THE_KEY = frozenset({Reason.WRONG_TYPE, Reason.VALUE_NOT_INTEGER, Reason.ENTRY_MALFORMED})


def unavailable(why: str) -> StoreError:
    """Return the error for a request that was never sent."""
    return StoreError(
        Reason.STORE_UNAVAILABLE,
        f"the store cannot be reached ({why}); nothing was changed, try again",
        retry_after_ms=RETRY_AFTER_MS,
    )


def outcome_unknown() -> StoreError:
    """Return the error for a write that was sent and never answered."""
    return StoreError(
        Reason.OUTCOME_UNKNOWN,
        "the connection to the store broke after the write was sent, so it may or may not have been applied; "
        "with an idempotency_key such a call is safe to repeat",
    )


def again(error: E) -> E:
    """Return a new error that says the same.

    One that is raised for many callers would gather their tracebacks, and with them what they asked for.
    """
    return type(error)(
        error.reason,
        error.message,
        field=error.field,
        metadata=error.metadata,
        retry_after_ms=error.retry_after_ms,
    )


def too_late() -> StoreError:
    """Return the error for a request whose deadline passed before it was sent."""
    return StoreError(Reason.DEADLINE_EXCEEDED, "the deadline passed before anything was sent; nothing was changed")


def deadline_exceeded() -> StoreError:
    """Return the error for a request whose deadline passed before its reply came."""
    return StoreError(
        Reason.DEADLINE_EXCEEDED,
        "the deadline passed before the store answered; a write may still be applied",
    )
