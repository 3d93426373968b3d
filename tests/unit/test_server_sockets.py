"""Sockets and ports for workers: taken when they are free, and only then."""

from __future__ import annotations

import socket
import stat
from typing import TYPE_CHECKING

import pytest

from sidecar.errors import StartupError
from sidecar.server.shared_port import reserve_port
from sidecar.server.sockets import listen_on, remove_socket

if TYPE_CHECKING:
    from pathlib import Path

_LOOPBACK = "127.0.0.1"


def _shared_listener(port: int) -> socket.socket:
    """Return a socket that listens on a port that it is willing to share, as a worker does."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((_LOOPBACK, port))
    made.listen()
    return made


class TestPort:
    """A port that several processes listen on."""

    def test_port_0_is_found_once_and_then_shared(self) -> None:
        """Two workers listen on the one port that was found."""
        reserved = reserve_port(f"{_LOOPBACK}:0")
        port = int(reserved.address.rpartition(":")[2])
        with _shared_listener(port), _shared_listener(port):
            assert port > 0
        reserved.close()

    def test_calls_reach_the_workers_and_not_the_reservation(self) -> None:
        """The socket that holds the port takes no connection away from them."""
        reserved = reserve_port(f"{_LOOPBACK}:0")
        port = int(reserved.address.rpartition(":")[2])
        with _shared_listener(port) as worker:
            worker.settimeout(5)
            for _ in range(20):
                with socket.create_connection((_LOOPBACK, port), 5):
                    worker.accept()[0].close()
        reserved.close()

    @pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
    def test_a_port_of_somebody_else_is_refused(self, *, shared: bool) -> None:
        """Even if that one would share it: calls would go to either."""
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
            other.bind((_LOOPBACK, 0))
            other.listen()
            address = f"{_LOOPBACK}:{other.getsockname()[1]}"
            with pytest.raises(StartupError, match=f"cannot listen on {address}: the port is in use"):
                reserve_port(address)

    def test_a_port_with_workers_of_another_sidecar_is_refused(self) -> None:
        """Two sidecars that share their ports among workers do not share them with each other."""
        reserved = reserve_port(f"{_LOOPBACK}:0")
        with _shared_listener(int(reserved.address.rpartition(":")[2])), pytest.raises(StartupError):
            reserve_port(reserved.address)
        reserved.close()

    @pytest.mark.parametrize("option", [0, socket.SO_REUSEADDR])
    def test_it_stays_taken_while_no_worker_listens(self, option: int) -> None:
        """A stranger does not get in between the death of a worker and its successor."""
        reserved = reserve_port(f"{_LOOPBACK}:0")
        with socket.socket() as stranger:
            if option:
                stranger.setsockopt(socket.SOL_SOCKET, option, 1)
            with pytest.raises(OSError, match="Address already in use"):
                stranger.bind((_LOOPBACK, int(reserved.address.rpartition(":")[2])))
        reserved.close()

    def test_it_is_free_again_afterwards(self) -> None:
        """Once let go, it can be reserved anew, connections in TIME_WAIT or not."""
        reserved = reserve_port(f"{_LOOPBACK}:0")
        port = int(reserved.address.rpartition(":")[2])
        with _shared_listener(port) as worker, socket.create_connection((_LOOPBACK, port)):
            worker.accept()[0].close()
        reserved.close()
        reserve_port(reserved.address).close()

    def test_a_name_with_two_addresses_has_one_port(self) -> None:
        """`localhost` may be ::1 and 127.0.0.1: the port that is found is free on both."""
        reserved = reserve_port("localhost:0")
        assert {int(reserved.address.rpartition(":")[2])} == {held.getsockname()[1] for held in reserved.sockets}
        reserved.close()

    def test_an_address_of_another_machine_is_refused(self) -> None:
        """192.0.2.0/24 is for documentation (RFC 5737)."""
        with pytest.raises(StartupError, match=r"cannot listen on 192\.0\.2\.1:0"):
            reserve_port("192.0.2.1:0")


class TestPath:
    """A Unix socket that several processes accept on."""

    def test_owner_and_group_may_use_it(self, tmp_path: Path) -> None:
        """And nobody else."""
        with listen_on(f"unix:{tmp_path}/s"):
            assert 0o660 == stat.S_IMODE((tmp_path / "s").stat().st_mode)

    def test_a_stale_one_is_replaced(self, tmp_path: Path) -> None:
        """What a killed sidecar left does not stand in the way."""
        listen_on(f"unix:{tmp_path}/s").close()
        with listen_on(f"unix:{tmp_path}/s"), socket.socket(socket.AF_UNIX) as caller:
            caller.connect(f"{tmp_path}/s")

    def test_a_live_one_is_left_alone(self, tmp_path: Path) -> None:
        """It is refused in one line, and still answers."""
        with listen_on(f"unix:{tmp_path}/s"):
            with pytest.raises(StartupError, match="another server answers there"):
                listen_on(f"unix:{tmp_path}/s")
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(f"{tmp_path}/s")

    def test_a_file_is_not_removed(self, tmp_path: Path) -> None:
        """Nothing but a socket ever is."""
        (tmp_path / "s").write_text("kept")
        with pytest.raises(StartupError, match="cannot listen on unix:"):
            listen_on(f"unix:{tmp_path}/s")
        assert "kept" == (tmp_path / "s").read_text()

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        """The reason stands in the line."""
        with pytest.raises(StartupError, match="No such file or directory"):
            listen_on(f"unix:{tmp_path}/no/s")

    def test_another_servers_is_not_removed(self, tmp_path: Path) -> None:
        """At the end a server removes its own, and that only once."""
        path = tmp_path / "s"
        with listen_on(f"unix:{path}"):
            inode = path.stat().st_ino
            remove_socket(str(path), inode + 1)
            assert path.is_socket()
            remove_socket(str(path), inode)
            remove_socket(str(path), inode)
            assert not path.exists()
