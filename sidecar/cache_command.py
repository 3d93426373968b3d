"""`sidecar cache ls | get | ttl | invalidate | warm | stats`: what operators ask a running sidecar about its caches.

Text for people in columns, `--json` for machines (the messages of the API as protobuf's JSON). Exit codes: 0, 1 where
there is no such entry, 2 for an error, with a line on standard error.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from sidecar.errors import StartupError
from sidecar.warm_command import add_warm_arguments, warm

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence

    from google.protobuf.duration_pb2 import Duration

    from sidecar.gen.sidecar.v1 import cache_admin_pb2
    from sidecar.remote import Remote

_MISS = 1
_SECONDS = 5.0


def add_cache_commands(commands: Any, own_address: Callable[[], str]) -> None:
    """Add them to the parser's commands; `own_address` says where to ask if that is not given."""
    cache = commands.add_parser("cache", help="look at the caches of a running sidecar, and invalidate entries")
    kinds = cache.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, text: str, run: Callable[[Remote, argparse.Namespace], int]) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = kinds.add_parser(name, help=text)
        parser.add_argument("--address", metavar="ADDR", help="where the sidecar listens (default: as sidecar health)")
        parser.add_argument("--json", action="store_true", help="answer for machines")
        parser.set_defaults(run=lambda options: _run(run, options, own_address))
        return parser

    ls = add("ls", "list the caches and what their policies say", _ls)
    ls.add_argument("cache", nargs="?", default="", metavar="CACHE")
    get = add("get", "write an entry's value to standard output, byte for byte", _get)
    ttl = add("ttl", "say what an entry is and how long it lives", _ttl)
    for parser in (get, ttl):
        parser.add_argument("cache", metavar="CACHE")
        parser.add_argument("key", metavar="KEY")
    invalidate = add("invalidate", "put entries out of date", _invalidate)
    invalidate.add_argument("cache", metavar="CACHE")
    what = invalidate.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", action="append", metavar="KEY", help="this entry; again for more than one")
    what.add_argument("--tag", action="append", metavar="TAG", help="all with this tag; again for more than one")
    what.add_argument("--prefix", metavar="PREFIX", help="all whose keys begin so; it ends with a colon")
    what.add_argument("--all", action="store_true", help="the whole cache")
    add_warm_arguments(add("warm", "load entries from their origin before anybody asks for them", warm))
    stats = add("stats", "say what was counted of the caches", _stats)
    stats.add_argument("cache", nargs="?", default="", metavar="CACHE")


def _run(
    run: Callable[[Remote, argparse.Namespace], int], options: argparse.Namespace, own_address: Callable[[], str]
) -> int:
    from sidecar.remote import Remote  # noqa: PLC0415 (the other commands start without gRPC)

    with Remote(options.address or own_address(), _SECONDS) as remote:
        return run(remote, options)


# --- the commands ---


def _ls(remote: Remote, options: argparse.Namespace) -> int:
    from sidecar.gen.sidecar.v1 import cache_admin_pb2 as pb  # noqa: PLC0415 (as above)

    answer = remote.call(_admin(), "ListCaches", pb.ListCachesRequest(cache=options.cache))
    if options.json:
        return _print_json(answer)
    rows = [("cache", "strategy", "class", "ttl", "max ttl", "stale for", "features")]
    for cache in answer.caches:
        features = {
            "raw": cache.raw,
            "tags": cache.tags,
            "generations": cache.generations,
            f"compressed above {cache.compress_above} B": cache.HasField("compress_above"),
        }
        rows.append(
            (
                cache.name,
                cache.strategy,
                cache.data_class,
                _set_time(cache.ttl),
                _set_time(cache.max_ttl) if cache.HasField("max_ttl") else "-",
                _set_time(cache.stale_for),
                ", ".join(name for name, has in features.items() if has) or "-",
            )
        )
    return _print_rows(rows)


def _get(remote: Remote, options: argparse.Namespace) -> int:
    from sidecar.gen.sidecar.v1 import cache_pb2, common_pb2  # noqa: PLC0415 (as above)

    service = cache_pb2.DESCRIPTOR.services_by_name["CacheService"]
    answer = remote.call(service, "Get", cache_pb2.GetRequest(cache=options.cache, key=options.key))
    missing = answer.outcome == common_pb2.OUTCOME_MISS
    if options.json:
        _print_json(answer)
    elif not missing:
        sys.stdout.buffer.write(answer.value)
        sys.stdout.buffer.flush()
    return _missing(options) if missing else 0


def _ttl(remote: Remote, options: argparse.Namespace) -> int:
    from sidecar.gen.sidecar.v1 import cache_admin_pb2 as pb  # noqa: PLC0415 (as above)
    from sidecar.gen.sidecar.v1 import common_pb2  # noqa: PLC0415 (as above)

    answer = remote.call(_admin(), "InspectEntry", pb.InspectEntryRequest(cache=options.cache, key=options.key))
    missing = answer.outcome == common_pb2.OUTCOME_MISS
    if options.json:
        _print_json(answer)
    elif not missing:
        size = f"{answer.value_bytes} B" if answer.HasField("value_bytes") else "-"
        stored = [
            word
            for word, so in (("compressed", answer.compressed), ("sealed", answer.sealed), ("pending", answer.pending))
            if so
        ]
        rows = [
            ("outcome", common_pb2.Outcome.Name(answer.outcome).removeprefix("OUTCOME_")),
            ("version", str(answer.version)),
            ("ttl", _time_left(answer.ttl) if answer.HasField("ttl") else "never ends"),
            ("age", _time_left(answer.age) if answer.HasField("age") else "-"),
            ("expires", _time_left(answer.expires_after) if answer.HasField("expires_after") else "never"),
            ("value", f"{answer.fields} fields" if answer.fields else size),
            ("stored", ", ".join([f"{answer.stored_bytes} B", *stored])),
            ("memory", f"{answer.memory_bytes} B"),
            ("tags", ", ".join(answer.tags) or str(answer.tag_count)),
        ]
        _print_rows(rows)
    return _missing(options) if missing else 0


def _invalidate(remote: Remote, options: argparse.Namespace) -> int:
    from sidecar.gen.sidecar.v1 import cache_pb2 as pb  # noqa: PLC0415 (as above)

    request = pb.InvalidateRequest(cache=options.cache)
    if options.key is not None:
        request.keys.keys.extend(options.key)
    elif options.tag is not None:
        request.tags.tags.extend(options.tag)
    elif options.prefix is not None:
        request.prefix = options.prefix
    else:
        request.all = True
    answer = remote.call(pb.DESCRIPTOR.services_by_name["CacheService"], "Invalidate", request)
    if options.json:
        _print_json(answer)
    elif answer.generation and options.tag is None:
        what = "the whole cache is" if options.prefix is None else f"all keys that begin with {options.prefix} are"
        print(f"{what} out of date (generation {answer.generation})")
    else:
        print(f"{answer.removed} removed")
    if answer.failures:
        raise StartupError("\n".join(f"{one.key}: {one.failure.message}" for one in answer.failures))
    return 0


def _stats(remote: Remote, options: argparse.Namespace) -> int:
    from sidecar.gen.sidecar.v1 import cache_admin_pb2 as pb  # noqa: PLC0415 (as above)

    answer = remote.call(_admin(), "GetCacheStats", pb.GetCacheStatsRequest(cache=options.cache))
    if options.json:
        return _print_json(answer)
    rows = [("cache", "reads", "hit", "stale", "miss", "loads", "mean", "p95", "waits", "refreshed", "evicted", "lag")]
    for one in answer.caches:
        reads = one.hits + one.misses + one.stale
        # What the sidecar loads itself it fills in as callers do, so that is in `loads` as well.
        by_callers = one.loads["filled"] + one.loads["empty"] + one.loads["failed"]
        loads = sum(one.origin_loads.values()) or by_callers
        timed = one.HasField("origin_times")
        rows.append(
            (
                one.cache,
                str(reads),
                *(f"{count / reads:.1%}" if reads else "-" for count in (one.hits, one.stale, one.misses)),
                str(loads),
                _load_time(one.origin_times.mean) if timed else "-",
                _load_time(one.origin_times.p95) if timed else "-",
                str(one.origin_waits + one.loads["waited"]),
                str(one.refreshes),
                str(one.evicted),
                _time_left(one.write_behind_lag) if one.write_behind_pending else "-",
            )
        )
    _print_rows(rows)
    print(f"counted by {_counters(answer)} since {answer.since.ToJsonString()}")
    return 0


def _counters(answer: cache_admin_pb2.GetCacheStatsResponse) -> str:
    """Say who has counted."""
    if answer.workers == 1:
        return f"process {answer.process_id}"
    if answer.workers == 0:
        return f"process {answer.process_id}, which does not know of others"
    if answer.processes == answer.workers:
        return f"{answer.workers} workers"
    return f"{answer.processes} of {answer.workers} workers"


# --- saying it ---


def _admin() -> Any:
    from sidecar.gen.sidecar.v1 import cache_admin_pb2  # noqa: PLC0415 (as above)

    return cache_admin_pb2.DESCRIPTOR.services_by_name["CacheAdminService"]


def _missing(options: argparse.Namespace) -> int:
    print(f"cache {options.cache} has no such entry", file=sys.stderr)
    return _MISS


def _print_json(message: Any) -> int:
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 (as above)

    print(
        json.dumps(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
    )
    return 0


def _print_rows(rows: Iterable[Sequence[str]]) -> int:
    listed = list(rows)
    widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
    for row in listed:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _set_time(duration: Duration) -> str:
    """Return a time of the configuration as it is written there."""
    from sidecar.config.quantities import Duration as Written  # noqa: PLC0415 (as above)

    return str(Written(duration.ToMilliseconds()))


def _time_left(duration: Duration) -> str:
    return f"{duration.ToMilliseconds() / 1000:.1f} s"


def _load_time(duration: Duration) -> str:
    return f"{duration.ToMicroseconds() / 1000:.1f} ms"
