"""Rate limits under fire: several sidecars, many processes, one key."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from support.hammered import allowed_by, hammered
from support.programs import SidecarProgram

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import StoreServer

pytestmark = pytest.mark.alone

LIMIT = 1_000
SIDECARS, PROCESSES, CALLERS = 4, 8, 50
# Of each caller; three times what is allowed.
CALLS = 8
CONFIG = f"""
listen: ["{{address}}"]
rate_limits:
  bucket: {{algorithm: token_bucket, rate: 1/d, burst: {LIMIT}}}
  gcra: {{algorithm: gcra, rate: 1/d, burst: {LIMIT}}}
  window: {{algorithm: sliding_window, limit: {LIMIT}, window: 31d}}
  log: {{algorithm: sliding_log, limit: {LIMIT}, window: 31d}}
  fixed: {{algorithm: fixed_window, limit: {LIMIT}, window: 366d}}
  yearly: {{algorithm: fixed_window, limit: {LIMIT}, calendar: year, time_zone: Asia/Tokyo}}
  several:
    limits:
      steady: {{algorithm: gcra, rate: 1/d, burst: {LIMIT}}}
      yearly: {{algorithm: fixed_window, limit: {2 * LIMIT}, calendar: year}}
"""
POLICIES = ["bucket", "gcra", "window", "log", "fixed", "yearly", "several"]


def test_exactly_the_limit_is_allowed_over_all_sidecars_and_processes(store: StoreServer, tmp_path: Path) -> None:
    """Eight processes of fifty callers on four sidecars get exactly the limit, by each algorithm."""
    store.start()
    more = ["--redis", store.url]
    with contextlib.ExitStack() as stack:
        sidecars = [
            stack.enter_context(SidecarProgram(tmp_path / str(number), config=CONFIG, arguments=more))
            for number in range(SIDECARS)
        ]
        allowed = allowed_by(hammered(PROCESSES, CALLERS, CALLS, POLICIES, sidecars))
    assert dict.fromkeys(POLICIES, LIMIT) == dict(allowed)
