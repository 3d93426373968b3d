"""Rules that tie several settings together."""

# ruff: noqa: E501 (in the tables a case stays on one line)
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sidecar.config import ConfigError, load

if TYPE_CHECKING:
    from pathlib import Path

REDIS = "url: 'redis://host'"
APP = "{origins: {app: {kind: service, address: '127.0.0.1:1'}}"
OF_APP = "origin: {name: app}"
LEDGER = "{origins: {ledger: {kind: http, url: 'http://h'}}"
READ = "strategy: read_through"
BANK = "{origins: {bank: {kind: postgres, url_env: U}}"
OF_BANK = "origin: {name: bank, load: 'SELECT :keys'}"
OF_LEDGER = "origin: {name: ledger, load: '/{key}'}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # Times of caches.
        ("caches: {a: {ttl: 2m, max_ttl: 1m}}", "caches.a.ttl: 2m is above max_ttl (1m)"),
        ("caches: {a: {data_class: phi, ttl: 25h}}", "caches.a.ttl: 25h is above the most for a phi cache (1d)"),
        ("caches: {a: {data_class: phi, max_ttl: 25h}}", "caches.a.max_ttl: 25h is above the most for a phi cache (1d)"),
        ("caches: {a: {data_class: phi, ttl: 1d, stale_for: 1s}}", "caches.a.stale_for: 1s and a TTL of 1d are together above the most for a phi cache (1d)"),
        # Write-behind caches.
        ("caches: {a: {write_behind: {}}}", "caches.a.write_behind: is only for caches with strategy: write_behind"),
        ("caches: {a: {strategy: write_behind, origin: {name: o}, tags: true}}\norigins: {o: {kind: service, address: 'a:1'}}", "caches.a.tags: a write-behind cache has none; invalidate its keys"),
        ("caches: {a: {strategy: write_behind, origin: {name: o}, generations: true}}\norigins: {o: {kind: service, address: 'a:1'}}", "caches.a.generations: a write-behind cache has none; invalidate its keys"),
        ("caches: {a: {strategy: write_behind, origin: {name: o}, max_memory: 10%}}\norigins: {o: {kind: service, address: 'a:1'}}", "caches.a.max_memory: a write-behind cache has none, but max_pending"),
        ("caches: {a: {strategy: write_behind, origin: {name: o}, write_behind: {retry_base: 1m}}}\norigins: {o: {kind: service, address: 'a:1'}}", "caches.a.write_behind.retry_base: 1m is above retry_cap (30s)"),
        ("caches: {a: {strategy: write_behind, origin: {name: o}, write_behind: {store_timeout: 6s}}}\norigins: {o: {kind: service, address: 'a:1'}}", "caches.a.write_behind.store_timeout: 6s is above half of lease (10s)"),
        # Fields of caches.
        ("caches: {a: {phi_fields: [ssn]}}", "caches.a.phi_fields: is only for caches with data_class: phi"),
        ("caches: {a: {clear_fields: [ward]}}", "caches.a.clear_fields: is only for caches with data_class: phi"),
        ("caches: {a: {data_class: phi, phi_fields: [b, a], clear_fields: [a]}}", "caches.a.clear_fields: `a` is also in phi_fields"),
        ("caches: {a: {data_class: phi, phi_fields: [b, b]}}", "caches.a.phi_fields: `b` is listed twice"),
        # Raw caches.
        ("caches: {a: {format: raw}}", "caches.a.format: a raw cache needs key_prefix"),
        ("caches: {a: {format: raw, key_prefix: p, data_class: phi}}", "caches.a.format: a phi cache cannot be raw, since raw values are not sealed"),
        ("caches: {a: {format: raw, key_prefix: p, stale_for: 1s}}", "caches.a.stale_for: must be 0 in a raw cache"),
        ("caches: {a: {format: raw, key_prefix: p, tags: true}}", "caches.a.tags: a raw cache has none, since its entries are values alone"),
        ("caches: {a: {format: raw, key_prefix: p, generations: true}}", "caches.a.generations: a raw cache has none, since its entries are values alone"),
        ("caches: {a: {format: raw, key_prefix: 'sc:x'}}", "caches.a.key_prefix: can reach keys that begin with sc:, which are the sidecar's own"),
        ("caches: {a: {format: raw, key_prefix: 's'}}", "caches.a.key_prefix: can reach keys that begin with sc:, which are the sidecar's own"),
        ("caches: {a: {key_prefix: p}}", "caches.a.key_prefix: is only for caches with format: raw"),
        ("caches: {a: {format: raw, key_prefix: p}, b: {format: raw, key_prefix: p}}", "caches.b.key_prefix: is the prefix of the cache `a` too"),
        # Bounds of caches.
        ("caches: {a: {data_class: phi, compress_above: 1KiB}}", "caches.a.compress_above: a phi cache has none, since the length of what is compressed, then sealed, tells of the content"),
        ("caches: {a: {format: raw, key_prefix: p, compress_above: 1KiB}}", "caches.a.compress_above: a raw cache has none, since others read its values"),
        ("caches: {a: {compress_above: 63B}}", "caches.a.compress_above: 63B is below the least allowed, 64B"),
        ("caches: {a: {format: raw, key_prefix: p, max_memory: 80%}}", "caches.a.max_memory: a raw cache has none, since others count on its keys"),
        ("caches: {a: {max_memory: 0%}}", "caches.a.max_memory: a share of the store's memory is a whole number from 1 to 99 and %, such as 80%"),
        ("caches: {a: {max_memory: 1KiB}}", "caches.a.max_memory: 1KiB is below the least allowed, 1MiB"),
        ("caches: {a: {max_memory: 80}}", "caches.a.max_memory: must be a share of the store's memory, such as 80%, or a size, such as 256MiB"),
        ("caches: {a: {max_value_bytes: 2MiB}}", "caches.a.max_value_bytes: 2MiB is above limits.max_value_bytes (1MiB)"),
        ("caches: {a: {warm: {keys: [k]}}}", "caches.a.warm: needs an origin to load from: a strategy other than cache_aside"),
        (f"{APP}, caches: {{a: {{{READ}, {OF_APP}, warm: {{}}}}}}}}", "caches.a.warm: names nothing to load: give `keys`, `file`, `query` or `from_cache`"),
        (f"{APP}, caches: {{a: {{{READ}, {OF_APP}, warm: {{query: SELECT 1}}}}}}}}", "caches.a.warm.query: is for an origin of kind postgres, and `app` is of kind service, which is asked by keys alone: have it write the keys to a file, and give `file`"),
        (f"{LEDGER}, caches: {{a: {{{READ}, {OF_LEDGER}, warm: {{query: SELECT 1}}}}}}}}", "caches.a.warm.query: is for an origin of kind postgres, and `ledger` is of kind http, which is asked by keys alone: have it write the keys to a file, and give `file`"),
        (f"{BANK}, caches: {{a: {{{READ}, {OF_BANK}, warm: {{query: 'SELECT :keys'}}}}}}}}", "caches.a.warm.query: has no parameter `:keys`: there is :limit, :tenant; in a slice of an array put a space after the colon"),
        (f"{BANK}, caches: {{a: {{{READ}, {OF_BANK}, warm: {{query: \"SELECT 'x\"}}}}}}}}", "caches.a.warm.query: a string does not end"),
        (f"{APP}, caches: {{a: {{{READ}, {OF_APP}, warm: {{keys: [k], query_timeout: 1s}}}}}}}}", "caches.a.warm.query_timeout: has no use without `query`"),
        (f"{APP}, caches: {{a: {{{READ}, {OF_APP}, warm: {{keys: [k], limit: 5}}}}}}}}", "caches.a.warm.limit: has no use without `query` or `from_cache`"),
        (f"{APP}, caches: {{a: {{{READ}, {OF_APP}, warm: {{from_cache: a, limit: 0}}}}}}}}", "caches.a.warm.limit: 0 is below the least allowed, 1"),
        (f"{APP}, caches: {{hot: {{l1: {{}}}}, a: {{{READ}, {OF_APP}, warm: {{from_cache: hit}}}}}}}}", "caches.a.warm.from_cache: there is no cache hit, did you mean `hot`?"),
        (f"{APP}, caches: {{hot: {{}}, a: {{{READ}, {OF_APP}, warm: {{from_cache: hot}}}}}}}}", "caches.a.warm.from_cache: `hot` has no `l1`, which is what counts how often keys are asked for"),
        (f"{APP}, caches: {{hot: {{data_class: phi, l1: {{}}}}, a: {{{READ}, {OF_APP}, warm: {{from_cache: hot}}}}}}}}", "caches.a.warm.from_cache: `hot` is phi, and which of its keys are hot is told to nobody"),
        # Near caches.
        ("caches: {a: {format: raw, key_prefix: p, l1: {}}}", "caches.a.l1: a raw cache has none: its values do not say until when they are fresh"),
        ("caches: {a: {consistency: strong, l1: {}}}", "caches.a.l1: a copy may be behind the store, which consistency: strong rules out"),
        # Origins.
        ("origins: {o: {kind: postgres}}", "origins.o: needs either url or url_env"),
        ("origins: {o: {kind: http, url: 'https://h', unix_socket: /s}}", "origins.o.url: is an https:// one, but nothing is encrypted on a Unix socket: write http://"),
        ("origins: {o: {kind: postgres, url: 'postgresql://db/b', url_env: U}}", "origins.o: needs either url or url_env"),
        ("origins: {o: {kind: service, address: 'a:1', server_name: b}}", "origins.o.server_name: has no use without ca_file"),
        ("origins: {o: {kind: http, url: 'http://b', ca_file: c}}", "origins.o.ca_file: has no use unless `url` is an https:// one"),
        ("caches: {a: {origin: {name: ledgr}}}\norigins: {ledger: {kind: service, address: 'a:1'}}", "caches.a.origin.name: no origin of that name is configured, did you mean `ledger`?"),
        ("caches: {a: {format: raw, key_prefix: p, origin: {name: o}}}\norigins: {o: {kind: service, address: 'a:1'}}", "caches.a.origin: a raw cache has none: it does not know who loads an entry"),
        ("caches: {a: {origin: {name: o, load: x}}}\norigins: {o: {kind: service, address: 'a:1'}}", "caches.a.origin.load: is not for an origin of kind service, which has its own"),
        ("caches: {a: {origin: {name: o}}}\norigins: {o: {kind: http, url: 'http://b'}}", "caches.a.origin.load: is needed for an origin of kind http"),
        ("caches: {a: {origin: {name: o, load: /things}}}\norigins: {o: {kind: http, url: 'http://b'}}", "caches.a.origin.load: needs {key} in its path"),
        ("caches: {a: {origin: {name: o, load: '{key}'}}}\norigins: {o: {kind: http, url: 'http://b'}}", "caches.a.origin.load: is a path such as /balances/{key}: it begins with / and has what else is special percent-encoded"),
        ("caches: {a: {origin: {name: o, load: '/{key}', remove: '/{key}'}}}\norigins: {o: {kind: http, url: 'http://b'}}", "caches.a.origin.remove: has no use without store"),
        ("caches: {a: {origin: {name: o, load: 'SELECT 1'}}}\norigins: {o: {kind: postgres, url_env: U}}", "caches.a.origin.load: does not use the parameter :keys"),
        ("caches: {a: {origin: {name: o, load: 'SELECT :key'}}}\norigins: {o: {kind: postgres, url_env: U}}", "caches.a.origin.load: has no parameter `:key`: there is :keys; in a slice of an array put a space after the colon"),
        ("caches: {a: {origin: {name: o, load: 'SELECT :keys', store: 'SELECT :key'}}}\norigins: {o: {kind: postgres, url_env: U}}", "caches.a.origin.store: does not use the parameter :value"),
        ("caches: {a: {origin: {name: o, load: \"SELECT ':keys\"}}}\norigins: {o: {kind: postgres, url_env: U}}", "caches.a.origin.load: a string does not end"),
        # Rate limits.
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/d, burst: 3651}}", "rate_limits.a.burst: at 1/d the bucket takes 3651 days to fill, above the most allowed (3650d)"),
        ("rate_limits: {a: {algorithm: concurrency, limit: 1, max_lease: 29s}}", "rate_limits.a.lease: 30s is above max_lease (29s)"),
        ("rate_limits: {a: {algorithm: gcra, rate: 1/d, burst: 3651}}", "rate_limits.a.burst: at 1/d the bucket takes 3651 days to fill, above the most allowed (3650d)"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 10001, window: 1d}}", "rate_limits.a.limit: 10001 is above the most allowed, 10000"),
        ("rate_limits: {a: {limits: {b: {algorithm: fixed_window, limit: 1}}}}", "rate_limits.a.limits.b: a fixed window needs either `window` or `calendar`"),
        ("rate_limits: {a: {algorithm: fixed_window, limit: 1}}", "rate_limits.a: a fixed window needs either `window` or `calendar`"),
        ("rate_limits: {a: {algorithm: fixed_window, limit: 1, window: 1d, calendar: day}}", "rate_limits.a.calendar: give either window or calendar"),
        ("rate_limits: {a: {algorithm: fixed_window, limit: 1, window: 1d, time_zone: Asia/Tokyo}}", "rate_limits.a.time_zone: has no use without `calendar`"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, unlimited_keys: [b, b]}}", "rate_limits.a.unlimited_keys: `b` is listed twice"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, unlimited_keys: ['b*'], denied_keys: ['b*']}}", "rate_limits.a.unlimited_keys: `b*` is also in denied_keys"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, unlimited_keys: [b], unlimited: true}}", "rate_limits.a.unlimited_keys: has no use where all keys are `unlimited`"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 0, window: 1d, unlimited: true}}", "rate_limits.a.unlimited: contradicts a limit of 0, which refuses everything"),
        ("rate_limits: {a: {unlimited: true, limits: {b: {algorithm: sliding_log, limit: 0, window: 1d}}}}", "rate_limits.a.unlimited: contradicts a limit of 0, which refuses everything"),
        ("rate_limits: {a: {limits: {b: {algorithm: sliding_log, limit: 1, window: 1d, shadow: true}}}}", "rate_limits.a.limits.b.shadow: stands on the policy, beside `limits`, not on one of them"),
        ("rate_limits: {a: {limits: {b: {algorithm: fixed_window, limit: 1, window: 1d, on_failure: open}}}}", "rate_limits.a.limits.b.on_failure: stands on the policy, beside `limits`, not on one of them"),
        ("rate_limits: {a: {limits: {b: {algorithm: fixed_window, limit: 1, window: 1d, cache_refusals: true}}}}", "rate_limits.a.limits.b.cache_refusals: stands on the policy, beside `limits`, not on one of them"),
        # Tiers.
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 5, tiers: {b: {}}}}", "rate_limits.a.tiers.b: says nothing; give other numbers, `unlimited`, or a `limit` of 0"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 5, tiers: {b: {limit: 3}}}}", "rate_limits.a.tiers.b.limit: is for windows; the limit of the policy is a bucket: give `rate` and `burst`"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 5, tiers: {b: {unlimited: true, limit: 0}}}}", "rate_limits.a.tiers.b.unlimited: contradicts a limit of 0, which refuses everything"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 5, tiers: {b: {unlimited: true, burst: 1}}}}", "rate_limits.a.tiers.b.burst: has no use where the tier is unlimited"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 5, tiers: {b: {limit: 0, burst: 1}}}}", "rate_limits.a.tiers.b.burst: has no use where the tier has a limit of 0"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 5, tiers: {b: {limits: {c: {burst: 1}}}}}}", "rate_limits.a.tiers.b.limits: the policy has one limit, without a name"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 5, tiers: {b: {rate: 1/d, burst: 3651}}}}", "rate_limits.a.tiers.b.burst: at 1/d the bucket takes 3651 days to fill, above the most allowed (3650d)"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, tiers: {b: {burst: 3}}}}", "rate_limits.a.tiers.b.burst: is for buckets; the limit of the policy has a window: give `limit`"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, tiers: {b: {limit: 10001}}}}", "rate_limits.a.tiers.b.limit: is above the most for a sliding log (10000)"),
        ("rate_limits: {a: {limits: {c: {algorithm: sliding_log, limit: 5, window: 1d}}, tiers: {b: {limit: 3}}}}", "rate_limits.a.tiers.b.limit: the policy has several limits; name them below `limits`"),
        ("rate_limits: {a: {limits: {c: {algorithm: sliding_log, limit: 5, window: 1d}}, tiers: {b: {limits: {d: {limit: 3}}}}}}", "rate_limits.a.tiers.b.limits.d: the policy has no limit of that name"),
        ("rate_limits: {a: {limits: {c: {algorithm: sliding_log, limit: 5, window: 1d}}, tiers: {b: {limits: {c: {rate: 3/s}}}}}}", "rate_limits.a.tiers.b.limits.c.rate: is for buckets; the limit of the policy has a window: give `limit`"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, cache_refusals: true, tiers: {b: {limit: 6}}}}", "rate_limits.a.cache_refusals: cannot be with tiers: what one of them is refused says nothing of another"),
        # Leases.
        ("rate_limits: {a: {algorithm: sliding_log, limit: 100, window: 1d, lease: {}}}", "rate_limits.a.lease: is not for a sliding log: a call counts from when it is made, and what was lent would count from when it was lent"),
        ("rate_limits: {a: {algorithm: sliding_window, limit: 100, window: 1d, lease: {}}}", "rate_limits.a.lease: is not for a sliding window: a call counts from when it is made, and what was lent would count from when it was lent"),
        ("rate_limits: {a: {lease: {}, limits: {b: {algorithm: gcra, rate: 1/s, burst: 100}}}}", "rate_limits.a.lease: is not for several `limits`: a call takes its cost from all of them or from none, in one step"),
        ("rate_limits: {a: {limits: {b: {algorithm: gcra, rate: 1/s, burst: 100, lease: {}}}}}", "rate_limits.a.limits.b.lease: is not for several `limits`: a call takes its cost from all of them or from none, in one step"),
        ("rate_limits: {a: {algorithm: gcra, rate: 1/s, burst: 100, shadow: true, lease: {}}}", "rate_limits.a.lease: is not for a policy in shadow mode: what is lent is refused to others, and would be counted so"),
        ("rate_limits: {a: {algorithm: gcra, rate: 1/s, burst: 100, unlimited: true, lease: {}}}", "rate_limits.a.lease: has no use where all keys are `unlimited`"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 19, lease: {}}}", "rate_limits.a.lease.max_fraction: 0.05 of 19 is less than one token, so nothing could be lent"),
        ("rate_limits: {a: {algorithm: fixed_window, limit: 0, window: 1s, lease: {}}}", "rate_limits.a.lease.max_fraction: 0.05 of 0 is less than one token, so nothing could be lent"),
        ("rate_limits: {a: {algorithm: gcra, rate: 1/s, burst: 100, lease: {max_fraction: 0.51}}}", "rate_limits.a.lease.max_fraction: 0.51 is above the most allowed, 0.5"),
        ("rate_limits: {a: {algorithm: gcra, rate: 1/s, burst: 100, lease: {ttl: 9ms}}}", "rate_limits.a.lease.ttl: 9ms is below the least allowed, 10ms"),
        ("rate_limits: {a: {algorithm: gcra, rate: 1/s, burst: 100, lease: {ttl: 11s}}}", "rate_limits.a.lease.ttl: 11s is above the most allowed, 10s"),
        # Candidates.
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, candidate: {algorithm: sliding_log, limit: 1, window: 1d, shadow: true}}}", "rate_limits.a.candidate.shadow: stands on the policy, not on its candidate"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, candidate: {algorithm: sliding_log, limit: 5, window: 1d, candidate: {algorithm: sliding_log, limit: 5, window: 1d}}}}", "rate_limits.a.candidate.candidate: stands on the policy, not on its candidate"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, candidate: {limits: {b: {algorithm: sliding_log, limit: 1, window: 1d, personal: true}}}}}", "rate_limits.a.candidate.limits.b.personal: stands on the policy, not on a limit of its candidate"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, candidate: {algorithm: token_bucket, rate: 1/d, burst: 3651}}}", "rate_limits.a.candidate.burst: at 1/d the bucket takes 3651 days to fill, above the most allowed (3650d)"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, candidate: {algorithm: fixed_window, limit: 1}}}", "rate_limits.a.candidate: a fixed window needs either `window` or `calendar`"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, unlimited: true, candidate: {algorithm: sliding_log, limit: 5, window: 1d}}}", "rate_limits.a.candidate: has no use where the policy's own limit is not asked"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 5, window: 1d, cache_refusals: true, candidate: {algorithm: sliding_log, limit: 5, window: 1d}}}", "rate_limits.a.cache_refusals: cannot be with a candidate, which would not see what is refused without the store"),
        ("rate_limits: {a: {algorithm: gcra, rate: 1/s, burst: 100, lease: {}, candidate: {algorithm: sliding_log, limit: 5, window: 1d}}}", "rate_limits.a.lease: cannot be with a candidate, which would not see what is spent without the store"),
        # Reservations.
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, reservations: {max_ttl: 29s}}}", "rate_limits.a.reservations.ttl: 30s is above max_ttl (29s)"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, reservations: {ttl: 5ms}}}", "rate_limits.a.reservations.ttl: 5ms is below the least allowed, 10ms"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, reservations: {max_held: 0}}}", "rate_limits.a.reservations.max_held: 0 is below the least allowed, 1"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, reservations: {}, cache_refusals: true}}", "rate_limits.a.cache_refusals: contradicts reservations, which make room before `retry_after` when they are committed or cancelled"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1/s, burst: 100, reservations: {}, lease: {}}}", "rate_limits.a.lease: cannot be with reservations: who spends what was lent knows nothing of what is held meanwhile"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, reservations: {}, candidate: {algorithm: sliding_log, limit: 2, window: 1d}}}", "rate_limits.a.candidate: cannot be with reservations: it would not be charged with what these come to"),
        ("rate_limits: {a: {algorithm: sliding_log, limit: 1, window: 1d, reservations: {}, unlimited: true}}", "rate_limits.a.reservations: has no use where all keys are `unlimited`"),
        ("rate_limits: {a: {limits: {b: {algorithm: sliding_log, limit: 1, window: 1d, reservations: {}}}}}", "rate_limits.a.limits.b.reservations: stands on the policy, beside `limits`, not on one of them"),
        # Limits.
        ("limits: {default_deadline: 2m}", "limits.default_deadline: 2m is above max_deadline (1m)"),
        ("limits: {max_value_bytes: 8MiB}", "limits.max_message_bytes: 8MiB does not hold max_value_bytes (8MiB), a key and the rest of a message; at least 8390144 bytes"),
        # Addresses.
        ("listen: ['a:1', 'a:1']", "listen[1]: a:1 is listed twice"),
        ("listen: ['127.0.0.1:9464']", "telemetry.metrics.address: 127.0.0.1:9464 is already in `listen`"),
        # Workers.
        ("{workers: 2, listen: ['a:1', {address: 'unix:/s', engine: grpcio}]}", "listen[1].engine: the grpcio engine cannot share a Unix socket among workers (2); leave it out, or set `workers` to 1"),
        ("{workers: auto, listen: [{address: 'unix:/s', engine: grpcio}]}", "listen[0].engine: the grpcio engine cannot share a Unix socket among workers (auto); leave it out, or set `workers` to 1"),
        # Strategies.
        ("caches: {a: {strategy: read_through}}", "caches.a.strategy: read_through needs `origin`"),
        ("caches: {a: {strategy: refresh_ahead, format: raw, key_prefix: 'p:'}}", "caches.a.strategy: a raw cache is cache_aside: others write it, and take no notice of loads"),
        (f"{LEDGER}, caches: {{a: {{strategy: write_through, {OF_LEDGER}}}}}}}", "caches.a.origin.store: is needed with strategy: write_through"),
        (f"{APP}, caches: {{a: {{strategy: read_through, {OF_APP}, hard_timeout: 11s}}}}}}", "caches.a.hard_timeout: 11s is above load_lease (10s)"),
        (f"{APP}, caches: {{a: {{strategy: read_through, {OF_APP}, soft_timeout: 1s}}}}}}", "caches.a.soft_timeout: has no use without fail_safe_for"),
        (f"{APP}, caches: {{a: {{strategy: read_through, {OF_APP}, soft_timeout: 11s, fail_safe_for: 1h}}}}}}", "caches.a.soft_timeout: 11s is above load_lease (10s)"),
        (f"{APP}, caches: {{a: {{strategy: read_through, {OF_APP}, soft_timeout: 2s, hard_timeout: 1s, fail_safe_for: 1h}}}}}}", "caches.a.soft_timeout: 2s is above hard_timeout (1s)"),
        (f"{APP}, caches: {{a: {{strategy: read_through, {OF_APP}, refresh_at: 0.5}}}}}}", "caches.a.refresh_at: is only for strategy: refresh_ahead"),
        (f"{APP}, caches: {{a: {{strategy: read_through, {OF_APP}, data_class: phi, ttl: 1h, fail_safe_for: 24h}}}}}}", "caches.a.fail_safe_for: 1d and a TTL of 1h are together above the most for a phi cache (1d)"),
        ("caches: {a: {fail_safe_for: 1s}}", "caches.a.fail_safe_for: is only for strategies with an origin"),
        ("caches: {a: {hard_timeout: 1s}}", "caches.a.hard_timeout: is only for strategies with an origin"),
        ("caches: {a: {soft_timeout: 1s}}", "caches.a.soft_timeout: is only for strategies with an origin"),
        ("caches: {a: {early_refresh: 1.0}}", "caches.a.early_refresh: is only for strategies with an origin"),
        # The store.
        ("store: {username: bob}", "store.username: has no use without `url`"),
        ("store: {password_env: A}", "store.password_env: has no use without `url`"),
        ("store: {url: 'redis://bob@host', username: eve}", "store.username: the URL names a user already"),
        ("store: {url: 'redis://:pw@host', password_file: f}", "store.password_file: the URL holds a password already"),
        (f"store: {{{REDIS}, password_file: f, password_env: E}}", "store.password_env: give either password_file or password_env"),
        (f"store: {{{REDIS}, tls: {{ca_file: f}}}}", "store.tls.ca_file: has no use unless `url` is a rediss:// one"),
        ("store: {url: 'rediss://host', tls: {key_file: f}}", "store.tls.key_file: needs cert_file"),
        ("store: {url: 'rediss://host', tls: {cert_file: f}}", "store.tls.cert_file: needs key_file"),
        ("store: {backoff: {base: 1s}}", "store.backoff.base: 1s is above cap (500ms)"),
        ("store: {url: 'redis://'}", "store.url: the store's URL must name a host, and a port other than 0: redis://host:6379"),
        ("store: {url: 'redis://host:x'}", "store.url: the host or port of the store's URL is not valid"),
        ("store: {url: 'redis://host/x'}", "store.url: the database in the store's URL must be a number, as in redis://host/0"),
        ("store: {url: 'unix://a'}", "store.url: a unix:// URL needs an absolute path: unix:///run/redis.sock"),
        # Keys.
        ("encryption: {keys: [{env: A}, {env: A}]}", "encryption.keys[1]: is listed twice"),
        ("encryption: {keys: [{}]}", "encryption.keys[0]: needs exactly one of `file` and `env`"),
    ],
)  # fmt: skip
def test_broken_rule(tmp_path: Path, text: str, problem: str) -> None:
    """A rule that is broken is reported at the setting to change, or at what encloses it."""
    file = tmp_path / "sidecar.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    lines = [str(found).split(": ", 1)[1] for found in caught.value.problems]
    assert lines == [problem]


@pytest.mark.parametrize(
    "text",
    [
        "caches: {a: {ttl: 2m, max_ttl: 2m}}",
        "caches: {a: {data_class: phi, ttl: 23h, max_ttl: 23h, stale_for: 1h}}",
        "caches: {a: {format: raw, key_prefix: p}, b: {format: raw, key_prefix: pq}}",
        "caches: {a: {l1: {}}, b: {l1: {max_staleness: 20ms, admission: all}, data_class: phi, ttl: 1h}, c: {consistency: strong}}",
        "listen: ['127.0.0.1:0', '127.0.0.1:0']",
        "{workers: 1, listen: [{address: 'unix:/s', engine: grpcio}]}",
        "{workers: 2, listen: ['unix:/s', {address: 'a:1', engine: grpcio}]}",
        "{workers: 64, listen: ['127.0.0.1:0', '127.0.0.1:0']}",
        "telemetry: {metrics: {address: null}}",
        "rate_limits: {a: {algorithm: token_bucket, rate: 1/d, burst: 3650}}",
        "rate_limits: {a: {algorithm: token_bucket, rate: 60000000/m, burst: 1000000000}}",
        "rate_limits: {a: {algorithm: concurrency, limit: 10000, lease: 1d}}",
        "rate_limits: {a: {algorithm: concurrency, limit: 1, lease: 10ms, max_lease: 10ms}}",
        "rate_limits: {a: {algorithm: gcra, rate: 1/d, burst: 3650}}",
        "rate_limits: {a: {algorithm: combined, limits: {gcra: {algorithm: gcra, rate: 1/d, burst: 1}}}}",
        "rate_limits: {a: {limits: {b: {algorithm: gcra, rate: 1/s, burst: 1}, c: {algorithm: fixed_window, limit: 9, calendar: day}}}}",
        "rate_limits: {a: {algorithm: sliding_log, limit: 10000, window: 366d}}",
        "rate_limits: {a: {algorithm: fixed_window, limit: 1, window: 10ms}}",
        "rate_limits: {a: {algorithm: fixed_window, limit: 1, calendar: month, time_zone: Asia/Tokyo}}",
        "rate_limits: {a: {algorithm: sliding_window, limit: 1, window: 366d}}",
        "store: {url: 'rediss://bob:pw@host:1/2', tls: {cert_file: c, key_file: k, server_name: s}}",
        "store: {url: 'unix:///run/redis.sock?db=1', username: bob, password_env: PW}",
        f"{APP}, caches: {{a: {{strategy: write_through, {OF_APP}, hard_timeout: 10s, soft_timeout: 10s, fail_safe_for: 30d}}}}}}",
        f"{APP}, caches: {{a: {{strategy: refresh_ahead, {OF_APP}, refresh_at: 0.5, early_refresh: 100.0}}}}}}",
        f"{APP}, caches: {{a: {{strategy: read_through, {OF_APP}, data_class: phi, ttl: 1h, stale_for: 23h, fail_safe_for: 23h}}}}}}",
    ],
)
def test_kept_rule(tmp_path: Path, text: str) -> None:
    """What lies on the right side of a rule, or just on its edge, is allowed."""
    file = tmp_path / "sidecar.yaml"
    file.write_text(text)
    load(file, {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("caches: {a: {format: raw, key_prefx: p}}", "caches.a: unknown key `key_prefx`, did you mean `key_prefix`?"),
        ("caches: {a: {ttl: 2m, max_ttl: 1}}", "caches.a.max_ttl: 1 has no unit; write 1s for seconds"),
        ("store: {url: 'http://host', username: bob}", "store.url: the store's URL must begin with redis://, rediss:// or unix://"),
        ("rate_limits: {a: {algorithm: sliding_window, limit: 1, windw: 1m}}", "rate_limits.a: unknown key `windw`, did you mean `window`?"),
        ("rate_limits: {a: {algorithm: concurrency, limit: 1, lease: 1m, max_leas: 1m}}", "rate_limits.a: unknown key `max_leas`, did you mean `max_lease`?"),
        ("rate_limits: {a: {algorithm: sliding_window, limit: 1, window: 1}}", "rate_limits.a.window: 1 has no unit; write 1s for seconds"),
        ("rate_limits: {a: {algorithm: fixed_window, limit: 1, window: 1}}", "rate_limits.a.window: 1 has no unit; write 1s for seconds"),
        ("rate_limits: {a: {algorithm: fixed_window, limit: 1, calender: day}}", "rate_limits.a: unknown key `calender`, did you mean `calendar`?"),
    ],
)  # fmt: skip
def test_an_echo_is_left_out(tmp_path: Path, text: str, problem: str) -> None:
    """A rule that seems broken only because of another mistake is not reported beside it."""
    file = tmp_path / "sidecar.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(caught.value) == f"{file}:1: {problem}"
