"""The hospital's login as a child process, and callers of it from addresses of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Self

import httpx

from support.programs import PROJECT, environment, wait_until
from support.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_FOLDER = PROJECT / "examples" / "hospital"
_PATIENCE_SECONDS = 30.0


class LoginProgram:
    """`python -m login serve` on a free port, with accounts in a folder of its own."""

    def __init__(self, folder: Path, sidecar_address: str, passwords: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.accounts = folder / "accounts.json"
        self._output = folder / "output"
        self._sidecar_address = sidecar_address
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._callers: dict[str, httpx.Client] = {}
        for name, password in passwords.items():
            self._run("add", name, password=password)

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command("serve", f"--port={self._port}", f"--sidecar={self._sidecar_address}"),
                env=self._environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._listens, "the login listens")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for caller in self._callers.values():
            caller.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE_SECONDS)

    @property
    def output(self) -> str:
        """All that it printed and logged."""
        return self._output.read_text(errors="replace")

    def caller(self, address: str) -> httpx.Client:
        """Return an HTTP client that calls from `address`, one of 127.0.0.0/8."""
        if address not in self._callers:
            transport = httpx.HTTPTransport(local_address=address)
            self._callers[address] = httpx.Client(
                transport=transport, base_url=f"http://127.0.0.1:{self._port}", timeout=_PATIENCE_SECONDS
            )
        return self._callers[address]

    def login(self, address: str, account: str, password: str) -> httpx.Response:
        """Log in from an address."""
        return self.caller(address).post("/login", json={"account": account, "password": password})

    @property
    def _environ(self) -> dict[str, str]:
        return environment(PYTHONPATH=os.pathsep.join([str(_FOLDER), str(PROJECT / "clients" / "python")]))

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "login", f"--accounts={self.accounts}", *arguments]

    def _run(self, *arguments: str, password: str) -> None:
        subprocess.run(
            self._command(*arguments),
            input=f"{password}\n".encode(),
            env=self._environ,
            check=True,
            timeout=_PATIENCE_SECONDS,
        )

    def _listens(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"the login ended with {self._process.returncode}: {self.output}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
