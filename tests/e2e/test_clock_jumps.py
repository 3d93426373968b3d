"""F12: a sidecar whose wall clock is days off, and jumps, decides as one with the right time.

The sidecar runs under libfaketime, which reads the offset from a file each time the clock is looked at; the store has
the true time. The monotonic clock is left alone, as the kernel leaves it alone when somebody sets the wall clock.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, rate_limit_pb2, record_pb2
from support.programs import HOSPITAL, SidecarProgram, wait_until
from support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.api import Api
    from support.servers import StoreServer

_JUMPS = ("+3d", "-400d", "+0", "+4000d")
_TENTH_MS = 100
# The sidecar's estimate of the store's time is ahead by a probe's way there at most, and calls take their time.
_NEAR_SECONDS = 0.3


def _library() -> Path:
    """Return libfaketime's library; skips the test if it is not installed."""
    for folder in (Path("/usr/lib"), Path("/usr/local/lib"), Path("/opt/homebrew/lib")):
        for found in sorted(folder.glob("**/faketime/libfaketimeMT.so.1")):
            return found
    if "SIDECAR_REQUIRE_FAKETIME" in os.environ:
        pytest.fail("SIDECAR_REQUIRE_FAKETIME is set, but there is no libfaketime")
    pytest.skip("no libfaketime (Debian: apt-get install libfaketime)")


class _Clock:
    """The wall clock of the sidecar that is deceived."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump("+3d")

    def jump(self, offset: str) -> None:
        """Set the clock that far off the truth, from one moment to the next."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{offset}\n")
        draft.rename(self._file)


def _deceived_by(clock: _Clock) -> dict[str, str]:
    """Return the environment of a process whose wall clock that is."""
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock._file),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> _Clock:
    """Return the clock."""
    return _Clock(tmp_path_factory.mktemp("clock") / "offset")


@pytest.fixture(scope="module")
def deceived_sidecar(
    tmp_path_factory: pytest.TempPathFactory, lasting_store: StoreServer, lasting_sidecar: SidecarProgram, clock: _Clock
) -> Iterator[SidecarProgram]:
    """Return a sidecar over the same store as the other, and with the same KEK, whose clock is wrong."""
    made = SidecarProgram(
        tmp_path_factory.mktemp("deceived"),
        config=HOSPITAL,
        arguments=["--redis", lasting_store.url],
        state=lasting_sidecar.state,
        environ=_deceived_by(clock),
    )
    with made as program:
        yield program


@pytest.fixture
def deceived(deceived_sidecar: SidecarProgram, clock: _Clock) -> Iterator[Api]:
    """Return stubs for the sidecar with the wrong clock, three days ahead at first."""
    clock.jump("+3d")
    with deceived_sidecar.api() as made:
        yield made


def _check(api: Api, key: str) -> rate_limit_pb2.CheckResponse:
    return api.limits.Check(rate_limit_pb2.CheckRequest(policy="auth", key=key), timeout=30)


def _get(api: Api, key: str, cache: str = "default") -> cache_pb2.GetResponse:
    return api.cache.Get(cache_pb2.GetRequest(cache=cache, key=key), timeout=30)


def _set(api: Api, key: str, ttl_seconds: int = 100, cache: str = "balances") -> cache_pb2.SetResponse:
    request = cache_pb2.SetRequest(cache=cache, key=key, value=b"v")
    request.ttl.FromSeconds(ttl_seconds)
    return api.cache.Set(request, timeout=30)


def test_the_clock_is_deceived(deceived_sidecar: SidecarProgram) -> None:
    """The log of the deceived sidecar is dated days away: without that the other tests would prove nothing."""
    in_two_days = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 2 * 86_400))
    assert deceived_sidecar.errors[: len(in_two_days)] >= in_two_days


def test_rate_limits_count_on(api: Api, deceived: Api, clock: _Clock) -> None:
    """Ten logins a minute stay ten, whichever sidecar is asked and whatever its clock does in between."""
    decisions = []
    for number in range(12):
        clock.jump(_JUMPS[number % len(_JUMPS)])
        decisions.append(_check(deceived if number % 2 else api, "jumps").allowed)
    assert [True] * 10 + [False] * 2 == decisions


def test_leases_last_and_end_by_no_wall_clock(lasting_store: StoreServer, clock: _Clock, tmp_path: Path) -> None:
    """What is borrowed is spent whatever the clock does, and what is not goes back a ttl later."""
    lease = "lease: {max_fraction: 0.2, ttl: 2s}"
    config = f"""
tenant: leased
listen: ["{{address}}"]
rate_limits:
  bucket: {{algorithm: token_bucket, rate: 1/d, burst: 100, {lease}}}
  yearly: {{algorithm: fixed_window, limit: 100, calendar: year, {lease}}}
"""
    program = SidecarProgram(
        tmp_path, config=config, arguments=["--redis", lasting_store.url], environ=_deceived_by(clock)
    )
    with program, program.api() as asked:
        for policy in ("bucket", "yearly"):
            request = rate_limit_pb2.CheckRequest(policy=policy, key="jumps")
            by_lease = 0
            for number in range(25):
                clock.jump(_JUMPS[number % len(_JUMPS)])
                by_lease += asked.limits.Check(request, timeout=5).enforcement == rate_limit_pb2.ENFORCEMENT_LEASE
            assert by_lease > 10
            look = rate_limit_pb2.PeekRequest(policy=policy, key="jumps")
            wait_until(lambda asks=look: asked.limits.Peek(asks, timeout=5).remaining == 75, "the rest has come back")  # type: ignore[misc]  # a loop's own value


@pytest.mark.parametrize("offset", _JUMPS)
def test_waiting_times_are_the_same(api: Api, deceived: Api, clock: _Clock, offset: str) -> None:
    """A refused login is told the same time to wait by both sidecars."""
    clock.jump(offset)
    for _ in range(10):
        _check(deceived, f"wait{offset}")
    told = [_check(asked, f"wait{offset}").retry_after.ToTimedelta().total_seconds() for asked in (api, deceived)]
    assert 50 < told[0] <= 60 + 6
    assert told[0] == pytest.approx(told[1], abs=_NEAR_SECONDS)


@pytest.mark.parametrize("offset", _JUMPS)
def test_lifetimes_are_the_stores(deceived: Api, clock: _Clock, oracle: Any, offset: str) -> None:
    """What is set for 100 s, fresh, and may be read stale for 30 s more, leaves the store after 130 s of its time."""
    clock.jump(offset)
    _set(deceived, f"ttl{offset}")
    (key,) = oracle.keys(f"*ttl{offset}*")
    assert 130_000 - 10 * _TENTH_MS <= oracle.pttl(key) <= 130_000


def test_ages_are_the_same(api: Api, deceived: Api, clock: _Clock) -> None:
    """Both sidecars tell the same age and remaining TTL of an entry, after each jump."""
    _set(api, "age")
    for offset in _JUMPS:
        clock.jump(offset)
        told, expected = _get(deceived, "age", "balances"), _get(api, "age", "balances")
        assert common_pb2.OUTCOME_HIT == told.outcome
        for part in ("age", "ttl"):
            seconds = [getattr(answer, part).ToTimedelta().total_seconds() for answer in (told, expected)]
            assert seconds[0] == pytest.approx(seconds[1], abs=_NEAR_SECONDS)


def test_entries_turn_stale_in_time(deceived: Api, deceived_sidecar: SidecarProgram, clock: _Clock) -> None:
    """An entry is fresh until its TTL has passed by the store's clock, not when the sidecar's clock jumps past it."""
    _set(deceived, "stale", ttl_seconds=2)
    watch = Stopwatch(deceived_sidecar.process_id)
    clock.jump("+400d")
    assert common_pb2.OUTCOME_HIT == _get(deceived, "stale", "balances").outcome
    clock.jump("-400d")
    wait_until(lambda: _get(deceived, "stale", "balances").outcome == common_pb2.OUTCOME_STALE, "the entry is stale")
    assert (True, True) == (watch.wall_seconds > 2 - _NEAR_SECONDS, watch.seconds < 2 + _NEAR_SECONDS)


@pytest.mark.parametrize("offset", _JUMPS)
def test_sealed_records_pass_between_clocks(api: Api, deceived: Api, clock: _Clock, offset: str) -> None:
    """What one sidecar seals the other opens: the day's data key is chosen by the store's clock."""
    clock.jump(offset)
    fields = {"name": record_pb2.FieldValue(text="Ada")}
    for writer, reader in ((api, deceived), (deceived, api)):
        writer.records.PutRecord(
            record_pb2.PutRecordRequest(cache="patients", key=f"r{offset}", fields=fields), timeout=5
        )
        read = reader.records.GetRecord(record_pb2.GetRecordRequest(cache="patients", key=f"r{offset}"), timeout=30)
        assert ("Ada", common_pb2.OUTCOME_HIT) == (read.fields["name"].text, read.outcome)


def test_records_expire_in_time(deceived: Api, deceived_sidecar: SidecarProgram, clock: _Clock) -> None:
    """A record is gone when its TTL has passed by the store's clock, and not before."""
    request = record_pb2.PutRecordRequest(cache="patients", key="gone")
    request.fields["ward"].text = "7"
    request.ttl.FromSeconds(2)
    deceived.records.PutRecord(request, timeout=30)
    watch = Stopwatch(deceived_sidecar.process_id)

    def outcome() -> int:
        return int(
            deceived.records.GetRecord(record_pb2.GetRecordRequest(cache="patients", key="gone"), timeout=30).outcome
        )

    clock.jump("+400d")
    assert common_pb2.OUTCOME_HIT == outcome()
    clock.jump("-400d")
    wait_until(lambda: outcome() == common_pb2.OUTCOME_MISS, "the record has expired")
    assert (True, True) == (watch.wall_seconds > 2 - _NEAR_SECONDS, watch.seconds < 2 + _NEAR_SECONDS)
