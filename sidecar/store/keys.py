"""Every Redis key of the sidecar is made here.

    sc:<tenant>:e:{<cache>:<name>}               an entry: a string (value) or a hash (record)
    sc:<tenant>:f:{<cache>:<name>}               who loads an entry (a token), or that its origin has none
    sc:<tenant>:v:{<cache>:<name>}               the fence of an entry: when an invalidated tag last came by
    sc:<tenant>:i:{<cache>:<name>}:<32 hex>      the record of an idempotency key for that entry
    sc:<tenant>:t:{<cache>:<tag>}                a tag's entries, a sorted set by when they end
    sc:<tenant>:t:{<cache>:<tag>}:p              those of an invalidated tag that are still to be visited
    sc:<tenant>:g:{<cache>}                      the generations of a cache's prefixes and of the whole, a sorted set
    sc:<tenant>:g:{<cache>}:t                    when its tags were invalidated, a sorted set
    sc:<tenant>:l<a>:{<policy>:<name>}           a rate limit's state; a letter stands for its algorithm
    sc:<tenant>:lm:{<policy>:<name>}:<16 hex>    the state of one limit of a policy that has several
    sc:<tenant>:l<a>:{<policy>:<name>}:h         what is held on a rate limit's key by reservations, a sorted set
    sc:<tenant>:lc<a>:{<policy>:<name>}          the same two of a policy's candidate
    sc:<tenant>:r:{<policy>}                     the processes that report on a policy
    sc:<tenant>:r:{<policy>}:<id>                what one of them reports
    sc:<tenant>:h:{<cache>}                      the processes that tell what a cache is asked for most
    sc:<tenant>:h:{<cache>}:<id>                 what one of them tells
    sc:<tenant>:d:{<32 hex>}                     the state of a rate limit that Envoy asks for by descriptors
    sc:<tenant>:o                                the overrides of rate limits, a hash
    sc:<tenant>:k:{<cache>:<epoch>}              a wrapped data key
    sc:<tenant>:m:{sidecars}                     the sidecars that are alive
    sc:<tenant>:u:{<cache>}:<what>               the process that does something for all that serve a cache
    sc:<tenant>:be:{<cache>:<partition>}:<name>  an entry of a write-behind cache
    sc:<tenant>:bf:{<cache>:<partition>}:<name>  who loads it
    sc:<tenant>:bi:{<cache>:<partition>}:<32 hex>:<name>  the record of an idempotency key for it
    sc:<tenant>:bs:{<cache>:<partition>}         the changes of a partition that wait, a stream
    sc:<tenant>:bp:{<cache>:<partition>}         the newest of each name that is not stored yet, a hash
    sc:<tenant>:bt:{<cache>:<partition>}         those that are under way to the origin, a hash
    sc:<tenant>:bo:{<cache>:<partition>}         who sends them, a hash
    sc:<tenant>:bh:{<cache>}                     who is there to send them, a sorted set
    sc:<tenant>:bd:{<cache>:<partition>}         those that never will be stored, a stream
    sc:<tenant>:bn:{<cache>:<partition>}         the names of these, a hash

Redis Cluster hashes what stands between the first `{` and the first `}` after it (Cluster specification, "Hash tags").
Tenant, cache and policy names hold neither brace nor colon (the configuration sees to that), so the first `{` is ours,
and two keys about the same entry have the same text up to the first `}`, whatever the caller's name holds: they share a
slot. Names cannot collide either: the parts before the name are of fixed shape, and what follows it has a fixed length.

An entry of a write-behind cache shares its slot with the changes of its partition, a number that follows from its name;
the name stands last there, so nothing in it can be mistaken for the frame.

A raw cache has no such frame: its key is the configured prefix and the caller's name, so that other programs find it.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, NamedTuple

from sidecar.errors import InvalidArgumentError, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

# 128 bits of SHA-256: enough that no two idempotency keys of one entry ever meet, and a key stays short.
_DIGEST_HEX = 32

# 64 bits: of the few limits of a policy no two meet.
_LIMIT_HEX = 16

ENTRY_TAIL = b"}"

HOLDS_SUFFIX = b":h"
"""What follows the key of a policy's state in that of its holds. No limit's suffix is so short."""


BEHIND_PARTITIONS = 16
"""How many partitions a write-behind cache has. Never to be changed: what is pending lies under the partition's number.

Enough that as many sidecars can share the work, few enough that one can look at all of them often.
"""


def behind_partition(name: bytes) -> int:
    """Return the number of the partition that a name of a write-behind cache is in."""
    return zlib.crc32(name) % BEHIND_PARTITIONS


def behind_name(rest: bytes) -> bytes:
    """Return the name in what follows `KeySpace.behind_head` in the key of an entry."""
    return rest.partition(b"}:")[2]


class BehindKeys(NamedTuple):
    """The keys of a partition of a write-behind cache, all in one slot; a name stands behind each head."""

    entry_head: bytes
    load_head: bytes
    record_head: bytes
    stream: bytes
    pending: bytes
    taken: bytes
    owner: bytes
    dead: bytes
    names: bytes

    def record(self, name: bytes, idempotency_key: str) -> bytes:
        """Return the key under which a write with an idempotency key is recorded."""
        digest = hashlib.sha256(idempotency_key.encode()).hexdigest()[:_DIGEST_HEX]
        return b"%b%b:%b" % (self.record_head, digest.encode(), name)


class KeySpace:
    """The keys of one tenant."""

    __slots__ = (
        "_behind",
        "_data_key",
        "_descriptor",
        "_entry",
        "_fence",
        "_generations",
        "_hot",
        "_idempotency",
        "_limit",
        "_load",
        "_reports",
        "_tag",
        "_upkeep",
        "members",
        "overrides",
    )

    def __init__(self, tenant: str) -> None:
        self._behind = f"sc:{tenant}:b".encode()
        self._entry = f"sc:{tenant}:e:{{".encode()
        self._load = f"sc:{tenant}:f:{{".encode()
        self._fence = f"sc:{tenant}:v:{{".encode()
        self._tag = f"sc:{tenant}:t:{{".encode()
        self._generations = f"sc:{tenant}:g:{{".encode()
        self._idempotency = f"sc:{tenant}:i:{{".encode()
        self._limit = f"sc:{tenant}:l".encode()
        self._descriptor = f"sc:{tenant}:d:{{".encode()
        self._data_key = f"sc:{tenant}:k:{{".encode()
        self._reports = f"sc:{tenant}:r:{{".encode()
        self._hot = f"sc:{tenant}:h:{{".encode()
        self._upkeep = f"sc:{tenant}:u:{{".encode()
        self.overrides = f"sc:{tenant}:o".encode()
        """The key of the overrides of rate limits."""
        self.members = f"sc:{tenant}:m:{{sidecars}}".encode()

    def entry(self, cache: str, name: bytes) -> bytes:
        """Return the key of an entry of a cache that is not raw."""
        return self.entry_head(cache) + name + ENTRY_TAIL

    def entry_head(self, cache: str) -> bytes:
        """Return what stands in the key of an entry of a cache before its name; `ENTRY_TAIL` stands after it."""
        return b"%b%b:" % (self._entry, cache.encode())

    def load_head(self, cache: str) -> bytes:
        """Return what stands before the name in the key of who loads an entry; `ENTRY_TAIL` stands after it."""
        return b"%b%b:" % (self._load, cache.encode())

    def fence(self, cache: str, name: bytes) -> bytes:
        """Return the key of an entry's fence, in the entry's slot."""
        return b"%b%b:%b}" % (self._fence, cache.encode(), name)

    def tag(self, cache: str, tag: bytes) -> tuple[bytes, bytes]:
        """Return the keys of a tag's entries, and of those that are to be visited; they share a slot."""
        members = b"%b%b:%b}" % (self._tag, cache.encode(), tag)
        return members, members + b":p"

    def generations(self, cache: str) -> tuple[bytes, bytes]:
        """Return the keys of a cache's generations, and of its tags' invalidations; they share a slot."""
        generations = b"%b%b}" % (self._generations, cache.encode())
        return generations, generations + b":t"

    def idempotency(self, cache: str, name: bytes, idempotency_key: str) -> bytes:
        """Return the key, in the entry's slot, under which a write with an idempotency key is recorded."""
        digest = hashlib.sha256(idempotency_key.encode()).hexdigest()[:_DIGEST_HEX]
        return b"%b%b:%b}:%b" % (self._idempotency, cache.encode(), name, digest.encode())

    def raw_idempotency(self, raw_key: bytes, idempotency_key: str) -> bytes | None:
        """Return a key in the slot of a raw key, or None if no key can be made that shares it.

        That is so only for a raw key with a `}` but no hash tag: it is hashed whole, and no tag can hold it.
        """
        tag = hash_tag(raw_key)
        if b"}" in tag:
            return None
        digest = hashlib.sha256(b"%b\0%b" % (raw_key, idempotency_key.encode())).hexdigest()
        return b"%braw:{%b}:%b" % (self._idempotency[:-1], tag, digest[:_DIGEST_HEX].encode())

    def limit(self, algorithm: bytes, policy: str, name: bytes) -> bytes:
        """Return the key of a rate limit's state.

        `algorithm` is a letter: a policy whose algorithm has changed begins anew, and cannot meet the other's state.
        """
        return b"%b%b:{%b:%b}" % (self._limit, algorithm, policy.encode(), name)

    def reporters(self, policy: str) -> bytes:
        """Return the key of the processes that report on a policy."""
        return b"%b%b}" % (self._reports, policy.encode())

    def report(self, policy: str, process: bytes) -> bytes:
        """Return the key, in the same slot, of what one of them reports."""
        return b"%b:%b" % (self.reporters(policy), process)

    def hot_processes(self, cache: str) -> bytes:
        """Return the key of the processes that tell what a cache is asked for most."""
        return b"%b%b}" % (self._hot, cache.encode())

    def hot(self, cache: str, process: bytes) -> bytes:
        """Return the key, in the same slot, of what one of them tells."""
        return b"%b:%b" % (self.hot_processes(cache), process)

    def descriptor(self, digest: bytes) -> bytes:
        """Return the key of the state of a limit on descriptors; `digest` stands for them."""
        return b"%b%b}" % (self._descriptor, digest)

    def data_key(self, cache: str, epoch: str) -> bytes:
        """Return the key of a wrapped data key; `epoch` holds no brace."""
        return b"%b%b:%b}" % (self._data_key, cache.encode(), epoch.encode())

    def upkeep(self, cache: str, what: bytes) -> bytes:
        """Return the key of the process that does `what` for all that serve a cache."""
        return b"%b%b}:%b" % (self._upkeep, cache.encode(), what)

    def behind_head(self, cache: str) -> bytes:
        """Return what the keys of all entries of a write-behind cache begin with."""
        return b"%be:{%b:" % (self._behind, cache.encode())

    def behind_senders(self, cache: str) -> bytes:
        """Return the key of the processes that send the changes of a write-behind cache."""
        return b"%bh:{%b}" % (self._behind, cache.encode())

    def behind(self, cache: str) -> tuple[BehindKeys, ...]:
        """Return the keys of the partitions of a write-behind cache."""

        def made(kind: str, partition: int) -> bytes:
            tail = b":" if kind in "efi" else b""
            return b"%b%b:{%b:%d}%b" % (self._behind, kind.encode(), cache.encode(), partition, tail)

        return tuple(
            BehindKeys(*[made(kind, partition) for kind in "efisptodn"]) for partition in range(BEHIND_PARTITIONS)
        )


def limit_suffix(algorithm: bytes, limit: str) -> bytes:
    """Return what follows the key of a policy's state in that of one of its several limits."""
    return b":" + hashlib.sha256(algorithm + limit.encode()).hexdigest()[:_LIMIT_HEX].encode()


def hash_tag(key: bytes) -> bytes:
    """Return the part of `key` that Redis Cluster hashes."""
    opening = key.find(b"{")
    if opening >= 0:
        closing = key.find(b"}", opening + 1)
        if closing > opening + 1:
            return key[opening + 1 : closing]
    return key


def check_name(name: str, max_bytes: int, field: str = "key") -> bytes:
    """Return a caller's key as bytes; raises `InvalidArgumentError` (KEY_EMPTY, KEY_TOO_LONG)."""
    encoded = name.encode()
    if not encoded:
        raise InvalidArgumentError(Reason.KEY_EMPTY, "the key is empty", field=field)
    if len(encoded) > max_bytes:
        raise InvalidArgumentError(
            Reason.KEY_TOO_LONG,
            f"the key has {len(encoded)} bytes; at most {max_bytes} are allowed (limits.max_key_bytes)",
            field=field,
            metadata={"max_bytes": str(max_bytes), "actual_bytes": str(len(encoded))},
        )
    return encoded


def check_names(names: Sequence[str], max_bytes: int, field: str) -> list[bytes]:
    """Return several callers' keys as bytes; raises as `check_name` does, with the path of the first that is wrong."""
    encoded = [name.encode() for name in names]
    lengths = list(map(len, encoded))
    if min(lengths, default=1) == 0 or max(lengths, default=0) > max_bytes:
        for number, name in enumerate(names):
            check_name(name, max_bytes, f"{field}[{number}]")
    return encoded
