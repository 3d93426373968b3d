"""The scripts by which processes share out the partitions of a write-behind cache, against their model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from support.ownership_model import OwnerModel, SendersModel
from support.timed_scripts import LUA, TIMED_NOW_AMONG_OTHERS

from sidecar.store.scripts import load_from

if TYPE_CHECKING:
    from support.servers import StoreServer

    from sidecar.store.scripts import Script

START_US = 1_800_000_000_000_000
SECOND_US = 1_000_000
SENDERS, OWNER = "senders", "owner"

ATTEND, HOLD, FREE = (
    load_from(LUA, name, replaced={"now": TIMED_NOW_AMONG_OTHERS})
    for name in ("attend_senders", "hold_partition", "free_partition")
)
NAMES = st.sampled_from(["a", "b", "c", "d"])
LEASES = st.sampled_from([200, 1_000, 10_000])
# Also back, by less than a lease and by far more.
PASSES = st.one_of(st.integers(-3 * SECOND_US, 3 * SECOND_US), st.sampled_from([0, 1, -3_600 * SECOND_US]))
STEPS = st.lists(
    st.tuples(st.sampled_from(["attend", "leave", "hold", "want", "free", "hurry"]), NAMES, LEASES, PASSES),
    max_size=40,
)


@given(steps=STEPS)
def test_scripts_do_as_the_model_says(kept_server: StoreServer, steps: list[tuple[str, str, int, int]]) -> None:
    """Whoever comes, goes, dies and comes back, and whatever the clock does."""
    oracle = kept_server.oracle()
    oracle.flushall()
    senders, owner, now = SendersModel(), OwnerModel(), START_US

    def run(script: Script, key: str, *arguments: str | int) -> Any:
        return oracle.eval(script.source.decode(), 1, key, *arguments, now)

    for kind, name, lease_ms, passed in steps:
        now += passed
        if kind in {"attend", "leave"}:
            asked_ms = lease_ms if kind == "attend" else 0
            assert senders.attend(name, asked_ms, now) == run(ATTEND, SENDERS, name, asked_ms)
            there: Any = oracle.zrange(SENDERS, 0, -1, withscores=True)
            assert senders.until == {one.decode(): int(until) for one, until in there}
        elif kind == "free":
            fence = owner.fence - (name == "d")
            assert owner.free(fence) == run(FREE, OWNER, fence)
        elif kind == "hurry":
            owner.hurried = True
            oracle.hset(OWNER, "q", 1)
        else:
            wanted = kind == "want"
            assert owner.hold(name, lease_ms, now, wanted=wanted) == run(HOLD, OWNER, name, lease_ms, int(wanted))
