"""What a client may do for next to nothing although it costs the server something: how often it may.

Honest clients stay far below these bounds; who oversteps one is sent away with ENHANCE_YOUR_CALM. Each is a token
bucket (`Allowance`), but for pings, whose rule gRPC's clients know: two that come sooner than allowed are forgiven
until the server next sends something (grpc/proposal A8).
"""

from __future__ import annotations

from typing import Final

from sidecar.server.h2.allowance import Allowance
from sidecar.server.h2.faults import ConnectionFault
from sidecar.server.h2.frames import ENHANCE_YOUR_CALM

# A reset this soon (seconds) cannot be the answer to anything that happened.
_RAPID_SECONDS: Final = 0.001
_PING_STRIKES: Final = 2
# What honest clients send too late or too often goes with what they get: grpc-core widens its window several times for
# an answer, and whoever gives calls up whose answers are on the way sends as many RST_STREAMs.
_LATE_FOR_EACH_SENT: Final = 8
_LONG_AGO: Final = -1e9


class Guard:
    """One client's account."""

    __slots__ = (
        "_broken_streams", "_idle_frames", "_late_frames", "_min_ping_interval", "_ping_strikes", "_pinged_at",
        "_rapid_resets", "_sent", "_settings_frames", "_small_pieces", "now",
    )  # fmt: skip

    def __init__(self, min_ping_interval: float) -> None:
        self.now = 0.0
        """When what is being read was received, in seconds."""
        self._min_ping_interval = min_ping_interval
        self._pinged_at = _LONG_AGO
        self._ping_strikes = 0
        self._rapid_resets = Allowance(200, 100)
        self._broken_streams = Allowance(100, 10)
        self._settings_frames = Allowance(50, 5)
        self._idle_frames = Allowance(1000, 200)
        self._late_frames = Allowance(5000, 1000)
        self._sent = 0
        self._small_pieces = Allowance(500, 100)

    def idle_frame(self) -> None:
        """Count a frame that does nothing.

        Empty data, PRIORITY, an acknowledgement, GOAWAY, an unknown type.
        """
        if not self._idle_frames.spend(self.now):
            raise _calm_down("frames that do nothing")

    def late_frame(self) -> None:
        """Count a frame that does nothing any more, or not yet.

        One for a stream that is over, a stream beyond those allowed, a window that is widened again although nothing
        has been sent since it was widened last.
        """
        self._late_frames.earn(self._sent * _LATE_FOR_EACH_SENT)
        self._sent = 0
        if not self._late_frames.spend(self.now):
            raise _calm_down("frames that do nothing")

    def settings(self) -> None:
        """Count SETTINGS, which must be acknowledged."""
        if not self._settings_frames.spend(self.now):
            raise _calm_down("SETTINGS")

    def broken_stream(self) -> None:
        """Count a stream that broke a rule, so that the server reset it (CVE-2025-8671)."""
        if not self._broken_streams.spend(self.now):
            raise _calm_down("broken streams")

    def reset(self, opened_at: float) -> None:
        """Count a stream that its client opened and reset at once (CVE-2023-44487).

        Later resets are what deadlines and cancellations bring about, however many; the calls behind them end then.
        """
        if self.now - opened_at < _RAPID_SECONDS and not self._rapid_resets.spend(self.now):
            raise _calm_down("streams that are opened and reset at once")

    def small_piece(self) -> None:
        """Count data that is drawn from us in pieces that are not worth their frames (CVE-2019-9511)."""
        if not self._small_pieces.spend(self.now):
            raise _calm_down("windows of next to nothing")

    def ping(self) -> None:
        """Count a PING."""
        if self.now - self._pinged_at >= self._min_ping_interval:
            self._pinged_at = self.now
            return
        self._ping_strikes += 1
        if self._ping_strikes > _PING_STRIKES:
            # The words that gRPC's clients know, and answer by pinging less often.
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too_many_pings")

    def has_sent(self) -> None:
        """Note that the server has sent something of a response."""
        self._ping_strikes = 0
        self._sent += 1


def _calm_down(what: str) -> ConnectionFault:
    return ConnectionFault(ENHANCE_YOUR_CALM, f"too many {what}")
