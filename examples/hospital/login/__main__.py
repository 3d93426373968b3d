"""`python -m login add NAME` keeps an account, with a password from standard input; `python -m login serve` serves."""

from __future__ import annotations

import argparse
import getpass
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from sidecar_client import SidecarClient
from sidecar_client.client import DEFAULT_ADDRESS

from login.accounts import read, write
from login.app import make_app

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m login", description=__doc__)
    parser.add_argument("--accounts", type=Path, default=Path("accounts.json"), help="default: %(default)s")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    adding = commands.add_parser("add", help="keep an account; its password comes from standard input")
    adding.set_defaults(does=_add)
    adding.add_argument("name")
    serving = commands.add_parser("serve", help="serve the login")
    serving.set_defaults(does=_serve)
    serving.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    serving.add_argument("--port", type=int, default=8080, help="default: %(default)s")
    serving.add_argument("--sidecar", default=DEFAULT_ADDRESS, metavar="ADDRESS", help="default: %(default)s")
    serving.add_argument("--proxy", metavar="ADDRESS", help="whose X-Forwarded-For names the caller; default: nobody's")
    options = parser.parse_args(arguments)
    code: int = options.does(options)
    return code


def _add(options: argparse.Namespace) -> int:
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not password:
        sys.stderr.write("no password was given\n")
        return 1
    write(options.accounts, read(options.accounts).with_account(options.name, password))
    return 0


def _serve(options: argparse.Namespace) -> int:
    if not options.accounts.exists():
        sys.stderr.write(f"there is no {options.accounts}: add an account first\n")
        return 1
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        make_app(read(options.accounts), SidecarClient(options.sidecar)),
        host=options.host,
        port=options.port,
        # A header that anyone can send must not choose whose limit is used.
        proxy_headers=options.proxy is not None,
        forwarded_allow_ips=options.proxy,
        # Its lines say who called.
        access_log=False,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
