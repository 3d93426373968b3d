"""Two tenants on one store, one's name the beginning of the other's: nothing that one asks for reaches the other."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from support.contract import Contract
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers import StoreServer

HIT = common_pb2.OUTCOME_HIT
Tenants = tuple[tuple[str, Contract], tuple[str, Contract]]


@pytest.fixture(scope="module")
def tenants(shared_store: StoreServer, engine: str) -> Iterator[Tenants]:
    """Return their names and their services."""
    name = f"t{secrets.token_hex(4)}"
    sidecars = [
        RunningSidecar(shared_store.url, engine=engine, overrides={"tenant": tenant}) for tenant in (name, f"{name}x")
    ]
    for sidecar in sidecars:
        sidecar.start()
    with Contract(sidecars[0], shared_store) as one, Contract(sidecars[1], shared_store) as other:
        yield (name, one), (f"{name}x", other)
    for sidecar in sidecars:
        sidecar.stop()


def odd_keys(other: str) -> list[str]:
    """Return keys that are patterns, or that end the sidecar's own key and begin the other's."""
    return [
        "k", "a:k", "*", "a:*", "[a-z]*", "?", "k}", f"}}:{other}:e:{{both:k", f"sc:{other}:e:{{both:k}}",
        "x:e:{both:k", f"../{other}/k", "k\r\nDEL k",
    ]  # fmt: skip


def held_by(api: Contract, tenant: str) -> dict[bytes, bytes]:
    """Return whatever the store holds for a tenant."""
    return {name: api.oracle.dump(name) for name in api.oracle.scan_iter(f"sc:{tenant}:*", count=1000)}


INVALIDATIONS: dict[str, Callable[[str], pb.InvalidateRequest]] = {
    "keys": lambda other: pb.InvalidateRequest(cache="both", keys=pb.InvalidateKeys(keys=odd_keys(other))),
    "tags": lambda other: pb.InvalidateRequest(cache="both", tags=pb.InvalidateTags(tags=["t", "*", f"sc:{other}:t"])),
    "a prefix of both": lambda _: pb.InvalidateRequest(cache="both", prefix="a:"),
    "a pattern": lambda _: pb.InvalidateRequest(cache="both", prefix="*:"),
    "the other's keys": lambda other: pb.InvalidateRequest(cache="both", prefix=f"sc:{other}:e:"),
    "all": lambda _: pb.InvalidateRequest(cache="both", all=True),
}


@pytest.mark.parametrize("what", INVALIDATIONS)
def test_what_one_invalidates_the_other_keeps(tenants: Tenants, what: str) -> None:
    """To the byte, whatever the keys, tags and prefixes hold."""
    (_, one), (name, other) = tenants
    keys = odd_keys(name)
    for api in (one, other):
        for key in keys:
            api.cache.Set(pb.SetRequest(cache="both", key=key, value=b"v", tags=["t"]))
    before = held_by(other, name)
    one.cache.Invalidate(INVALIDATIONS[what](name))
    assert before == held_by(other, name)
    assert [HIT] * len(keys) == [
        result.entry.outcome for result in other.cache.GetMany(pb.GetManyRequest(cache="both", keys=keys)).results
    ]


def test_what_one_writes_and_removes_the_other_does_not_see(tenants: Tenants) -> None:
    """Keys that look like the other's are keys of one's own."""
    (_, one), (name, other) = tenants
    before = held_by(other, name)
    for key in odd_keys(name):
        one.cache.Set(pb.SetRequest(cache="plain", key=key, value=b"v"))
        one.cache.GetOrLoad(pb.GetOrLoadRequest(cache="plain", key=f"{key}-"))
        one.cache.Delete(pb.DeleteRequest(cache="plain", key=key, idempotency_key="i"))
    assert before == held_by(other, name)


@pytest.mark.parametrize("prefix", ["*:", "a*:", "[a-z]:", "?:"])
def test_a_prefix_is_no_pattern(tenants: Tenants, prefix: str) -> None:
    """It means the keys that begin with just that."""
    ((_, one), _) = tenants
    for key in ("a:k", f"{prefix}k"):
        one.cache.Set(pb.SetRequest(cache="passing", key=key, value=b"v"))
    one.cache.Invalidate(pb.InvalidateRequest(cache="passing", prefix=prefix))
    found = one.cache.GetMany(pb.GetManyRequest(cache="passing", keys=["a:k", f"{prefix}k"])).results
    assert [HIT, common_pb2.OUTCOME_MISS] == [result.entry.outcome for result in found]
