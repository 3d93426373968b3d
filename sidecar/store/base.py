"""What the rest of the sidecar may ask of the store, whatever the topology behind it.

Every request carries the `Call` on whose behalf it is made: its deadline bounds the wait, its span is the parent of the
command's. Replies are RESP3 values as hiredis makes them; bulk strings are `bytes`. A request that fails raises
`StoreError`, whose reason says whether anything can have changed (`STORE_UNAVAILABLE`: nothing; `OUTCOME_UNKNOWN`:
perhaps).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from sidecar.call import Call
    from sidecar.errors import StoreError
    from sidecar.store.scripts import Script

Arg = bytes | str | int
"""One word of a command."""

Reply = Any
"""A RESP3 value: `bytes`, `int`, `float`, `bool`, `None`, or a list or dict of these."""


class Command(NamedTuple):
    """One Redis command.

    `repeatable` says that sending it twice, also long after the first time, does no harm: it only reads, or a record of
    its idempotency key makes the second time a reading of the first one's answer. A blind `SET` is *not* repeatable: a
    copy left in the buffer of a hung server may overtake a later write of somebody else.
    """

    words: tuple[Arg, ...]
    """The command's name, then its arguments."""
    repeatable: bool

    @property
    def writes(self) -> bool:
        """Whether it may change anything: a single command that may not be repeated does."""
        return not self.repeatable


class ScriptCall(NamedTuple):
    """One run of a script; all `keys` must share a hash slot."""

    script: Script
    keys: tuple[bytes, ...]
    args: tuple[Arg, ...]
    repeatable: bool
    writes: bool = True
    """Whether it may change anything, the first time at least."""


class Store(Protocol):
    """A Redis or Valkey, standalone or of many nodes."""

    def call(self, command: Command, call: Call) -> Awaitable[Reply]:
        """Send one command and return its reply."""
        ...

    def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Send commands together; return their replies in order, a `StoreError` in place of each that failed.

        Each ends as it would alone. Those of the same key take effect in their order, also where a node has to be given
        a script first. Not a transaction: others' commands may run in between.
        """
        ...

    def get_many(self, keys: Sequence[bytes], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Read strings together: what `call_many` returns for a `commands.get` of each key, at less than its cost."""
        ...

    def run(self, script_call: ScriptCall, call: Call) -> Awaitable[Reply]:
        """Run a script, loading it first on a node that lacks it, and return what it returns."""
        ...
