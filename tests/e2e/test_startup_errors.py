"""What cannot start says why in one clear line, and exits with 2."""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING

import pytest
from support.programs import HOSPITAL, SidecarProgram, environment, run_sidecar
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A time, and one of the levels that say that all is well.
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d\S* (\S+ )?(DEBUG|INFO) ")


def _refused(program: SidecarProgram) -> str:
    """Start what must not start; return its one line, which nothing but the log precedes."""
    try:
        assert 2 == program.spawn().wait()
    finally:
        program.stop()
    assert "" == program.output
    lines = [line for line in program.errors.splitlines() if not _LOG_LINE.match(line)]
    assert 1 == len(lines), program.errors
    assert program.errors.endswith(f"{lines[0]}\n")
    return lines[0]


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Return a port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_every_problem_of_a_configuration_with_its_line(tmp_path: Path) -> None:
    """A bad configuration is refused with all of its problems at once, each at its line."""
    program = SidecarProgram(
        tmp_path,
        config="cachs: {}\ncaches:\n  default:\n    ttl: soon\n  phi-one:\n    data_class: phi\n    format: raw\n"
        "limits:\n  max_key_bytes: 1\n",
        environ={"SIDECAR_LIMITS__MAX_KEY": "1"},
    ).spawn()
    assert 2 == program.wait()
    path = tmp_path / "sidecar.yaml"
    lines = program.errors.splitlines()
    assert [f"{path}:1: unknown key `cachs`, did you mean `caches`?"] == lines[:1]
    assert [f"{path}:4: ", f"{path}:7: ", f"{path}:9: "] == sorted({line[: len(f"{path}:4: ")] for line in lines[1:-1]})
    assert "SIDECAR_LIMITS__MAX_KEY: unknown variable, did you mean `SIDECAR_LIMITS__MAX_KEY_BYTES`?" == lines[-1]


def test_configuration_file_is_missing(tmp_path: Path) -> None:
    """A file that is not there is named."""
    path = tmp_path / "missing.yaml"
    assert f"{path}: cannot be read: no such file or directory" == _refused(SidecarProgram(tmp_path, config=path))


def test_port_is_in_use(tmp_path: Path, taken_port: int) -> None:
    """A port that another program has is named, with the way out; nothing is left running."""
    line = _refused(SidecarProgram(tmp_path, listen=f"127.0.0.1:{taken_port}"))
    assert line.startswith(f"cannot listen on 127.0.0.1:{taken_port}: the port is in use")
    assert "--listen" in line


def test_address_is_not_this_machines(tmp_path: Path) -> None:
    """An address of another machine is refused (192.0.2.1 is for documentation, RFC 5737)."""
    assert "cannot listen on 192.0.2.1:50051" in _refused(SidecarProgram(tmp_path, listen="192.0.2.1:50051"))


def test_metrics_port_is_in_use(tmp_path: Path, taken_port: int) -> None:
    """The metrics' port is told apart from the calls' port."""
    environ = {"SIDECAR_TELEMETRY__METRICS__ADDRESS": f"127.0.0.1:{taken_port}"}
    line = _refused(SidecarProgram(tmp_path, environ=environ))
    assert line.startswith(f"cannot serve metrics on 127.0.0.1:{taken_port}: Address already in use; ")


def test_unix_socket_is_in_use(tmp_path: Path) -> None:
    """A Unix socket on which another sidecar answers is not taken over; the other goes on."""
    listen = f"unix:{tmp_path / 's.sock'}"
    with SidecarProgram(tmp_path / "first", listen=listen) as first:
        line = _refused(SidecarProgram(tmp_path / "second", listen=listen))
        assert f"cannot listen on {listen}: another server answers there; stop it or choose another path" == line
        assert first.api().is_serving()


def test_unix_socket_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A Unix socket that cannot be made is refused."""
    assert "cannot listen on unix:" in _refused(SidecarProgram(tmp_path, listen=f"unix:{tmp_path / 'no' / 's.sock'}"))


@pytest.mark.parametrize("size", [31, 33])
def test_key_file_of_the_wrong_size(tmp_path: Path, size: int) -> None:
    """A KEK file that holds neither 32 bytes nor the base64 of 32 is refused; its content is not shown."""
    key = tmp_path / "kek"
    key.write_bytes(b"k" * size)
    line = _refused(
        SidecarProgram(tmp_path, config=HOSPITAL, environ={"SIDECAR_ENCRYPTION__KEYS": f"[{{file: {key}}}]"})
    )
    assert f"the key-encryption key file {key} is not a key: it must hold 32 bytes, or the base64 of 32 bytes" == line


@pytest.mark.parametrize("text", ["", "c2hvcnQ="])
def test_key_variable_of_the_wrong_size(tmp_path: Path, text: str) -> None:
    """A KEK variable that does not hold the base64 of 32 bytes is refused; its content is not shown."""
    environ = {"SIDECAR_ENCRYPTION__KEYS": "[{env: THE_KEK}]", "THE_KEK": text}
    line = _refused(SidecarProgram(tmp_path, config=HOSPITAL, environ=environ))
    assert "the environment variable THE_KEK is not a key: it must hold the base64 of 32 bytes" == line


def test_key_file_is_missing(tmp_path: Path) -> None:
    """A KEK file that is not there is named."""
    key = tmp_path / "kek"
    environ = {"SIDECAR_ENCRYPTION__KEYS": f"[{{file: {key}}}]"}
    line = _refused(SidecarProgram(tmp_path, config=HOSPITAL, environ=environ))
    assert f"the key-encryption key file {key} does not exist" == line


@pytest.mark.parametrize("config", [None, HOSPITAL], ids=["plain", "phi"])
def test_state_directory_cannot_be_made(tmp_path: Path, config: Path | None) -> None:
    """A state directory that cannot be written to is named."""
    (tmp_path / "file").write_text("in the way")
    line = _refused(SidecarProgram(tmp_path / "sidecar", config=config, state=tmp_path / "file" / "state"))
    assert str(tmp_path / "file" / "state") in line
    assert "Not a directory" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_state_directory_is_not_writable(tmp_path: Path) -> None:
    """A state directory without the right to write is named, with the way out."""
    state = tmp_path / "state"
    state.mkdir(mode=0o500)
    line = _refused(SidecarProgram(tmp_path / "sidecar", state=state))
    assert "Permission denied" in line
    assert "SIDECAR_STATE_DIR" in line


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pass-canary@host",
        "redis://user:pass-canary@host:port",
        "unix://:pass-canary@/run/redis.sock?db=zero",
        "pass-canary",
        "",
    ],
)
def test_bad_store_url_and_no_password_in_the_answer(tmp_path: Path, url: str) -> None:
    """A store's URL that cannot be used is refused in words that do not repeat it."""
    line = _refused(SidecarProgram(tmp_path, arguments=["--redis", url]))
    assert "store" in line
    assert "pass-canary" not in line


@pytest.mark.parametrize(
    "arguments",
    [["--frobnicate"], ["--redi", "redis://:pass-canary@host"], ["--redi=redis://:pass-canary@host"], ["pass-canary"]],
)
def test_unknown_flag(tmp_path: Path, arguments: list[str]) -> None:
    """A flag that there is not, or a part of one, is refused by name; what came with it is not repeated."""
    line = _refused(SidecarProgram(tmp_path, arguments=arguments))
    assert line.startswith("sidecar serve: unknown argument")
    assert line.endswith("; see sidecar serve --help")
    assert "pass-canary" not in line


def test_unknown_flag_of_a_command_within_a_command() -> None:
    """Whose help is named."""
    ended = run_sidecar("sql", "setup", "--config=pass-canary")
    said = "sidecar sql setup: unknown argument --config; see sidecar sql setup --help\n"
    assert (2, "", said) == (ended.returncode, ended.stdout, ended.stderr)
    assert (
        "sidecar: unknown argument --config; see sidecar --help\n"
        == run_sidecar("--config=pass-canary", "sql", "setup").stderr
    )


@pytest.mark.parametrize("arguments", [[], ["serv"], ["check-config"], ["serve", "--listen"]])
def test_incomplete_command_line(arguments: list[str]) -> None:
    """A command line that lacks something is refused in one line, without the usage."""
    ended = run_sidecar(*arguments)
    assert (2, "", 1) == (ended.returncode, ended.stdout, len(ended.stderr.splitlines()))
    assert ended.stderr.startswith("sidecar")


def test_password_file_is_missing(tmp_path: Path) -> None:
    """A password file that is not there is named."""
    environ = {"SIDECAR_STORE__PASSWORD_FILE": str(tmp_path / "none")}
    line = _refused(SidecarProgram(tmp_path, arguments=["--redis", "redis://127.0.0.1:1"], environ=environ))
    assert f"store.password_file: {tmp_path / 'none'}: No such file or directory" == line


def test_refusal_leaves_no_store_behind(tmp_path: Path, taken_port: int) -> None:
    """When a later step of start-up fails, the embedded store that was started is stopped again."""
    program = SidecarProgram(tmp_path, listen=f"127.0.0.1:{taken_port}")
    _refused(program)
    log = (program.state / "embedded" / "valkey.log").read_text()
    assert "ready to exit" in log


def test_no_home_for_the_state(tmp_path: Path) -> None:
    """Without SIDECAR_STATE_DIR the state goes to XDG_STATE_HOME."""
    environ = environment(XDG_STATE_HOME=str(tmp_path / "xdg"), SIDECAR_TELEMETRY__METRICS__ADDRESS="null")
    (tmp_path / "xdg").write_text("in the way")
    ended = run_sidecar("serve", "--listen", f"127.0.0.1:{free_port()}", environ=environ)
    assert 2 == ended.returncode
    assert str(tmp_path / "xdg" / "sidecar") in ended.stderr
