"""Write-behind: a write is acknowledged once it is in the store, and reaches the cache's origin some time later.

**What a write does.** One script writes the entry and appends the change to a stream, in one slot: there is no moment
with one and without the other. For that a cache has 16 partitions, and an entry's key carries the hash tag of its
partition (`store/keys.py`). Each partition has, beside the stream of what waits:

    pending   the newest change of each name that is not stored yet, which reads look at: an entry that expired or was
              evicted meanwhile is not loaded from an origin that does not know of it
    taken     the changes that are under way to the origin, each under its id
    owner     who sends them, and a number that grows with each new owner: its fence
    dead      the changes that never will be stored

**What an owner does.** All processes share out the partitions (`ownership`); each has one owner, until that lets it go
or has not renewed that for a while (`partitions`). It takes changes from the stream in their order, of each name one at
a time, gives them to the origin in batches and settles what came of it (`flusher`, which asks `schedule` what is to be
done). To take, to settle and to let go are scripts that do nothing for an owner whose fence is out of date.

**What an id means.** Changes of a name that wait coalesce: the newest takes the place of the last, under its id. With
the taking it is settled what the id says, and under that it is sent, with the same token, until the origin has
answered, by whichever owner. A later change of the name waits for that. So an origin that keeps the tokens it has seen
makes each change once, and never an older after a newer: a copy of an older one that is still under way from an owner
of before meets its own token.

**How it fails.** An owner that dies has left what it had under way in `taken`: the next one sends it again, first. One
that was only slow, and goes on after another has begun, has its settling refused; what it still sends is known to the
origin by its token. An origin that keeps no tokens may see a change twice, and after such a pause an older one after a
newer; its calls are given less time than the lease has left, to make that rare. A store that loses what it has
acknowledged (its disk, a failover) loses changes with it: see `durability` in `docs/write-behind.md`.

Rejected: a consumer group, whose claims hand single entries to anybody and so have no order of each name; a queue in
the sidecar's memory, which a crash empties; one stream for a cache, which a cluster cannot share out.
"""
