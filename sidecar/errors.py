"""Everything that can go wrong in a call, in the project's own words.

A domain raises `SidecarError` with a `Reason`; it knows nothing of gRPC. `rpc/status.py` is the only place that turns a
reason into a status code and error details. The reasons are those of `proto/sidecar/v1/error_reason.proto`, whose
comments are their documentation; a test holds the two lists together.

Messages reach callers and logs. They say what is wrong and what to do, and never hold a key, a value or what the store
answered, since any of these may be protected health information.
"""

from __future__ import annotations

from difflib import get_close_matches
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Reason(Enum):
    """The cause of a failed call; the value is its number in `ErrorReason`."""

    MESSAGE_MALFORMED = 1
    CACHE_UNKNOWN = 2
    POLICY_UNKNOWN = 3
    KEY_EMPTY = 4
    KEY_TOO_LONG = 5
    VALUE_TOO_LARGE = 6
    TTL_NOT_POSITIVE = 7
    TTL_TOO_LONG = 8
    COST_ABOVE_LIMIT = 9
    CONDITION_EMPTY = 10
    BATCH_SIZE = 11
    FIELD_COUNT = 12
    FIELD_NAME = 13
    FIELD_VALUE = 14
    IDEMPOTENCY_KEY_TOO_LONG = 15
    OPERATION_EMPTY = 16
    TAGS_UNSUITABLE = 17
    PREFIX_UNSUITABLE = 18

    IDEMPOTENCY_KEY_REUSED = 20
    VALUE_NOT_INTEGER = 21
    COUNTER_OUT_OF_RANGE = 22
    WRONG_TYPE = 23
    UNSUPPORTED_BY_CACHE = 24
    ENTRY_MALFORMED = 25

    STORE_UNAVAILABLE = 40
    OUTCOME_UNKNOWN = 41
    STORE_OUT_OF_MEMORY = 42
    STORE_DENIED = 43
    STORE_ERROR = 44
    DEADLINE_EXCEEDED = 45
    OVERLOADED = 46
    ANSWER_TOO_LARGE = 47
    MESSAGE_TOO_LARGE = 48
    STOPPING = 49
    INTERRUPTED = 50

    CIPHERTEXT_REJECTED = 60
    KEY_ENCRYPTION_KEY_UNKNOWN = 61

    METHOD_UNKNOWN = 80
    INTERNAL = 81
    SERVICE_UNKNOWN = 82

    WRONG_ALGORITHM = 100
    SLOTS_ZERO = 101
    LEASE_OUT_OF_BOUNDS = 102
    HOLDER_TOO_LONG = 103
    TOKEN_MALFORMED = 104
    HOLDER_REUSED = 105
    LEASE_UNKNOWN = 106
    OVERRIDE_INVALID = 107
    OVERRIDE_EXPIRY = 108
    OVERRIDES_FULL = 109
    RESERVATIONS_OFF = 110
    RESERVATION_COST_ZERO = 111
    RESERVATION_TTL_OUT_OF_BOUNDS = 112
    RESERVATION_ID_TOO_LONG = 113
    RESERVATION_ID_REUSED = 114
    RESERVATION_UNKNOWN = 115
    RESERVATIONS_FULL = 116
    TIER_UNKNOWN = 130

    ORIGIN_UNAVAILABLE = 140
    ORIGIN_TIMED_OUT = 141
    ORIGIN_REFUSED = 142
    ORIGIN_ANSWER = 143
    ORIGIN_BUSY = 144
    ORIGIN_OUTCOME_UNKNOWN = 145

    WARM_LIST_UNSUITABLE = 180
    READ_TOKEN_MALFORMED = 170
    STALENESS_NEGATIVE = 171
    WRITE_BEHIND_FULL = 150
    WRITE_NOT_CONFIRMED = 151
    DEAD_LETTER_MALFORMED = 152
    CHANGE_EXPIRED = 153


class SidecarError(Exception):
    """A call that ends with an error.

    `field` is the path of the request's field at fault (`"ttl"`, `"entries[3].key"`), `metadata` goes into `ErrorInfo`
    as it is, `retry_after_ms` becomes a `RetryInfo`.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata = metadata or {}
        self.retry_after_ms = retry_after_ms


class StoreError(SidecarError):
    """The store could not do what was asked; `call_many` returns it in place of a reply."""


class InvalidArgumentError(SidecarError):
    """The request itself is wrong, whatever the store holds."""


class StartupError(Exception):
    """The process cannot start or go on; its one line of text is for the operator, the exit code is 2."""


# Characters. A name that is not configured may be of any length; of a longer one neither the error's metadata, which
# travel in a header, nor the search for the nearest name, which takes quadratic time, see more.
_MAX_NAME_ECHO = 64


def unknown_name(kind: str, name: str, known: Iterable[str]) -> dict[str, str]:
    """Return the metadata of an error about a name that is not known: itself under `kind`, and `nearest` if one is."""
    metadata = {kind: name[:_MAX_NAME_ECHO]}
    nearest = get_close_matches(metadata[kind], known, n=1)
    if nearest:
        metadata["nearest"] = nearest[0]
    return metadata
