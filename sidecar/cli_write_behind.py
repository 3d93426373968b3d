"""`sidecar write-behind status | dead-letters | replay | discard | flush`: what operators do with write-behind caches.

A running sidecar is asked, at the address that `sidecar health` would ask. Values of dead letters are not printed, and
keys only on demand: they may be protected health information, and a terminal has a memory.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from sidecar.remote import Remote

_SECONDS = 10.0
_PAGE = 100
_EXIT_LEFT = 1
_MS = 1_000


def add_parser(commands: Any, own_address: Callable[[], str]) -> None:
    """Add the command; `own_address` says where a sidecar of this environment listens."""
    parser = commands.add_parser("write-behind", help="look after what write-behind caches have not stored")
    below = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace, Any], int], text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = below.add_parser(name, help=text)
        added.add_argument("cache", metavar="CACHE", help="the name of a write-behind cache")
        added.add_argument(
            "--address", metavar="ADDR", help="where a sidecar listens (default: as sidecar health has it)"
        )
        added.set_defaults(run=lambda options: _with_stub(options, own_address, run))
        return added

    add("status", _status, "say how far the origin is behind")
    letters = add("dead-letters", _dead_letters, "list the changes that will not be made")
    letters.add_argument("--keys", action="store_true", help="with their keys, which may be personal")
    replay = add("replay", _replay, "have dead letters sent again")
    replay.add_argument("ids", nargs="*", metavar="ID", help="dead letters, as `dead-letters` lists them")
    replay.add_argument("--all", action="store_true", help="every one there is")
    replay.add_argument("--force", action="store_true", help="also where the origin has a newer change of the key")
    discard = add("discard", _discard, "forget dead letters for good")
    discard.add_argument("ids", nargs="*", metavar="ID", help="dead letters, as `dead-letters` lists them")
    discard.add_argument("--all", action="store_true", help="every one there is")
    flush = add("flush", _flush, "wait until the origin has what is pending now")
    flush.add_argument("--timeout", type=float, default=_SECONDS, metavar="SECONDS", help="for so long (default: 10)")


def _with_stub(
    options: argparse.Namespace, own_address: Callable[[], str], run: Callable[[argparse.Namespace, Any], int]
) -> int:
    from sidecar.remote import Remote  # noqa: PLC0415 (the other commands start without gRPC)

    unserved = "no cache of that sidecar is write-behind"
    with Remote(options.address or own_address(), _SECONDS, unserved=unserved) as remote:
        return run(options, _Stub(remote))


class _Stub:
    """The service's methods, each by its name and its request's fields."""

    def __init__(self, remote: Remote) -> None:
        from sidecar.gen.sidecar.v1 import write_behind_pb2 as pb  # noqa: PLC0415 (as above)

        self._pb = pb
        self._remote = remote

    def call(self, name: str, seconds: float | None = None, **fields: Any) -> Any:
        """Call a method."""
        service = self._pb.DESCRIPTOR.services_by_name["WriteBehindService"]
        return self._remote.call(service, name, getattr(self._pb, f"{name}Request")(**fields), seconds)


def _status(options: argparse.Namespace, stub: _Stub) -> int:
    status = stub.call("GetWriteBehindStatus", cache=options.cache)
    print(f"pending       {status.pending}")
    print(f"lag           {status.lag.ToMilliseconds() / _MS:.3f} s")
    print(f"dead letters  {status.dead_letters}")
    for sender in status.senders:
        here = "  (answers this call)" if sender.answering else ""
        print(f"sender        {sender.id}  {sender.partitions} of 16 partitions{here}")
    return 0


def _dead_letters(options: argparse.Namespace, stub: _Stub) -> int:
    for letter in _all(options.cache, stub):
        change = letter.WhichOneof("change")
        what = {"value": f"{len(letter.value)} bytes", "removed": "removed"}.get(change or "", "unreadable")
        key = f"  {letter.key!r}" if options.keys else ""
        died = letter.dead_time.ToJsonString()
        print(f"{letter.id}  {died}  {letter.reason}  attempts {letter.attempts}  {what}{key}")
    return 0


def _all(cache: str, stub: _Stub) -> Iterator[Any]:
    token = ""
    while True:
        page = stub.call("ListDeadLetters", cache=cache, page_size=_PAGE, page_token=token)
        yield from page.dead_letters
        token = page.next_page_token
        if not token:
            return


def _replay(options: argparse.Namespace, stub: _Stub) -> int:
    done = stub.call("ReplayDeadLetters", cache=options.cache, ids=options.ids, all=options.all, force=options.force)
    print(f"replayed {done.replayed}")
    left = {
        "the origin has a newer change of the key": done.superseded,
        "a newer change of the key is pending": done.waiting,
        "there is no such dead letter": done.unknown,
    }
    for why, ids in left.items():
        for letter in ids:
            print(f"{letter}: {why}", file=sys.stderr)
    return _EXIT_LEFT if any(left.values()) else 0


def _discard(options: argparse.Namespace, stub: _Stub) -> int:
    done = stub.call("DiscardDeadLetters", cache=options.cache, ids=options.ids, all=options.all)
    print(f"discarded {done.discarded}")
    return 0


def _flush(options: argparse.Namespace, stub: _Stub) -> int:
    left = stub.call("Flush", options.timeout, cache=options.cache).pending
    print(f"pending {left}" if left else "the origin has all of it")
    return _EXIT_LEFT if left else 0
