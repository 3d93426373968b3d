"""What a limit answers when the store does not.

A limit that is counted in the store cannot be decided without it. Whether callers should then be let through, kept out
or told of a failure depends on what the limit is for, so each policy says it: `on_failure`.

- `error`, the default: the call fails with STORE_UNAVAILABLE, and the caller decides. Nothing pretends.
- `open`: everything is allowed. For limits that spread a load; what was let through is not counted afterwards.
- `closed`: everything that costs something is refused. For limits that guard something, such as a login.
- `local_share`: each sidecar enforces its share of the limit by a count of its own (`sidecar.ratelimit.local_share`).
  One that has never heard how many there are has no share, and refuses: if it took itself for the only one, each of a
  fleet that is restarted in an outage would give the whole limit.

**Which failures count.** STORE_UNAVAILABLE: the store was not asked, or has refused to look. OUTCOME_UNKNOWN too: the
connection broke after the question was sent, so the store may have taken the cost, and it may have refused. Whatever is
answered then, the store can only have counted what the caller did not get, never missed what it did: to decide again
errs on the side of refusing later. To fail such a call instead would give each connection's last callers an error that
the policy promised to keep from them. Not DEADLINE_EXCEEDED: the call is over, and nobody would hear the answer. So
while a store hangs, calls whose deadline is shorter than `store.reply_timeout` fail until that has passed and the
connection is given up. Not what the store says when it answers with an error (out of memory, access denied, a foreign
value under the key): there an operator has to do something, and a silent answer would hide it.

**Beside the limits.** Keys for which these do not count, by the policy's lists or an override, are decided as ever: the
store is not asked about them. An override with numbers of its own has the same failure mode with its own numbers, and
shadow mode lets through what is refused here as it does what the store refuses. Overrides that were known when the
store went hold until they end; none can be set.

**A batch** of checks that hang together fails as a whole where one of their policies says `error`. Where none does,
each answers as its own policy says.

Rejected: to ask the state of the store's health first instead of asking the store. It would spare a failing call some
microseconds, and answer from the past in the moment when the store is back.
"""

from __future__ import annotations

from enum import Enum

from sidecar.ratelimit.decision import UNBOUNDED, Decision, Enforcement

# When to ask again, where nobody can say when there is room: twice the longest wait between attempts to connect, by
# default, so that the sidecar has looked again itself. A fleet of callers should not ask more often.
COME_BACK_US = 1_000_000


class OnFailure(Enum):
    """What a policy answers while the store cannot decide."""

    ERROR = "error"
    OPEN = "open"
    CLOSED = "closed"
    LOCAL_SHARE = "local_share"


def failed_open(limit: int) -> Decision:
    """Return the answer that allows without a count."""
    return Decision(True, limit, 0, 0, 0, enforcement=Enforcement.FAILED_OPEN, max_overshoot=UNBOUNDED)


def failed_closed(limit: int, cost: int) -> Decision:
    """Return the answer that refuses without a count; what costs nothing is allowed, as always."""
    wait_us = COME_BACK_US if cost else 0
    return Decision(cost == 0, limit, 0, wait_us, wait_us, enforcement=Enforcement.FAILED_CLOSED)
