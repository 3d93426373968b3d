"""Why an origin could not do what it was asked, in the sidecar's words.

What the origin itself says stays out of all texts: it may quote the value that it refuses.
"""

from __future__ import annotations

from typing import Final

from sidecar.errors import Reason, SidecarError

NOTHING_CHANGED: Final = "; nothing was changed"
# When it is not known how long an outage lasts: soon enough for a blip, and no storm.
_SOON_MS: Final = 100
# Somebody has to mend something.
_MENDED_MS: Final = 1_000


class LostError(Exception):
    """The connection to an origin was lost before anything could have been changed there.

    Another attempt over a fresh connection may fare better. `why` says what is known of it, for the operator.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__(why)
        self.why = why

    @property
    def what(self) -> str:
        """What is wrong with the origin, as the rest of a sentence."""
        return f"cannot be reached: {self.why}" if self.why else "cannot be reached"


class UnusableUrlError(LostError):
    """There can be no connection, whenever it is tried: what says how to connect is wrong."""


class AnotherWayError(Exception):
    """The origin is there, but has to be asked in another way."""


class UnfitError(Exception):
    """A statement of the configuration is of no use, whatever the data; its text says why, for the operator."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(what)
        self.code = code


def unavailable(origin: str, what: str, retry_after_ms: int = _SOON_MS) -> SidecarError:
    """Return the error for an origin that cannot be asked now; nothing was changed."""
    return SidecarError(
        Reason.ORIGIN_UNAVAILABLE,
        f"the origin {origin!r} {what}{NOTHING_CHANGED}",
        metadata={"origin": origin},
        retry_after_ms=max(1, retry_after_ms),
    )


def unfit(origin: str, code: str) -> SidecarError:
    """Return the error for what the origin, which is there, cannot do as it is configured; nothing was changed.

    It is no refusal of what was asked: once the configuration or the origin is mended it can be done. `code` is the
    origin's own word for what is wrong.
    """
    return SidecarError(
        Reason.ORIGIN_UNAVAILABLE,
        f"the origin {origin!r} cannot do it as it is configured ({code}); nothing was changed",
        metadata={"origin": origin, "code": code},
        retry_after_ms=_MENDED_MS,
    )


def timed_out(origin: str) -> SidecarError:
    """Return the error for a load that was not answered in its time."""
    return SidecarError(
        Reason.ORIGIN_TIMED_OUT, f"the origin {origin!r} has not answered in its time", metadata={"origin": origin}
    )


def refused(origin: str, code: str) -> SidecarError:
    """Return the error for what the origin will never do; `code` is its own word for why."""
    return SidecarError(
        Reason.ORIGIN_REFUSED, f"the origin {origin!r} refuses it ({code})", metadata={"origin": origin, "code": code}
    )


def bad_answer(origin: str, what: str) -> SidecarError:
    """Return the error for an answer that cannot be kept."""
    return SidecarError(Reason.ORIGIN_ANSWER, f"the origin {origin!r} {what}", metadata={"origin": origin})


def busy(origin: str, most: int) -> SidecarError:
    """Return the error for a call that found no room beside the others."""
    return SidecarError(
        Reason.ORIGIN_BUSY,
        f"{most} calls of the origin {origin!r} are under way, as many as may be (max_concurrency)",
        metadata={"origin": origin},
        retry_after_ms=_SOON_MS,
    )


def outcome_unknown(origin: str) -> SidecarError:
    """Return the error for a change that was sent and may have been made."""
    return SidecarError(
        Reason.ORIGIN_OUTCOME_UNKNOWN,
        f"the origin {origin!r} has not said whether the change was made",
        metadata={"origin": origin},
    )
