"""The hospital's login, as a program behind a sidecar, with a real HTTP client for each caller."""

from __future__ import annotations

import math
import secrets
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from login.accounts import read
from login.passwords import hashed, matches
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2
from support.login_service import LoginProgram
from support.programs import HOSPITAL, SidecarProgram, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.api import Api
    from support.servers import StoreServer

PASSWORD = "correct horse canary"
ACCOUNTS = ("ada-canary", "grace", "edith")

# The policy `auth`: ten in any minute, counted in ten parts, so that a slot comes free at most one part late.
LIMIT = 10
LONGEST_WAIT_S = 66

_numbers = count(2)


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory, lasting_sidecar: SidecarProgram) -> Iterator[LoginProgram]:
    """Serve the login over the hospital's sidecar."""
    folder = tmp_path_factory.mktemp("login")
    with LoginProgram(folder, lasting_sidecar.address, dict.fromkeys(ACCOUNTS, PASSWORD)) as program:
        yield program


@pytest.fixture
def address() -> str:
    """Return an address that no other test calls from."""
    return new_address()


def new_address() -> str:
    """Return the same once more."""
    return f"127.0.3.{next(_numbers)}"


def unknown() -> str:
    """Return an account that nobody has, and that no other test uses."""
    return f"nobody-{secrets.token_hex(8)}"


def test_a_login_begins_a_session(login: LoginProgram, address: str) -> None:
    """The token says who it is, and the answer what is left of the caller's ten."""
    answer = login.login(address, " ADA-canary ", PASSWORD)
    assert (200, 900) == (answer.status_code, answer.json()["expires_in"])
    assert '"caller";q=10;w=60' == answer.headers["RateLimit-Policy"]
    assert answer.headers["RateLimit"].startswith('"caller";r=9;t=')
    bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
    session = login.caller(address).get("/session", headers=bearer)
    assert (200, {"account": "ada-canary"}) == (session.status_code, session.json())


def test_without_a_session_there_is_no_account(login: LoginProgram, address: str) -> None:
    """Nor with a token that nobody was given."""
    headers: list[dict[str, str]] = [{}, {"Authorization": "Bearer made-up"}, {"Authorization": "Basic YTpi"}]
    assert [401] * 3 == [login.caller(address).get("/session", headers=given).status_code for given in headers]


def test_the_eleventh_login_of_a_minute_is_refused(login: LoginProgram, address: str, api: Api) -> None:
    """With 429, and a Retry-After that is the sidecar's own wait in whole seconds, rounded up.

    Right or wrong, every attempt counts.
    """
    logins = [login.login(address, unknown(), "guess") for _ in range(LIMIT)]
    refused = login.login(address, "ada-canary", PASSWORD)
    assert [401] * LIMIT == [answer.status_code for answer in logins]
    assert [f'"caller";r={LIMIT - number}' for number in range(1, LIMIT + 1)] == [
        answer.headers["RateLimit"].rpartition(";")[0] for answer in logins
    ]
    assert (429, "application/problem+json", ["caller"]) == (
        refused.status_code,
        refused.headers["Content-Type"],
        refused.json()["violated-policies"],
    )
    wait = int(refused.headers["Retry-After"])
    peeked = peek(api, read(login.accounts).key("caller", address))  # the same, asked a moment later
    still_s = math.ceil(peeked.retry_after.ToMilliseconds() / 1000)
    assert (False, True) == (peeked.allowed, wait in {still_s, still_s + 1})
    assert 1 <= wait <= LONGEST_WAIT_S


def test_ten_of_many_at_once_get_through(login: LoginProgram, address: str) -> None:
    """However they arrive, one caller's attempts are counted exactly."""
    name = unknown()
    login.caller(address)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: login.login(address, name, "guess").status_code, range(40)))
    assert {401: LIMIT, 429: 30} == dict(Counter(answers))


def test_another_caller_is_not_affected(login: LoginProgram, address: str) -> None:
    """Each address has its own ten."""
    for _ in range(LIMIT + 1):
        last = login.login(address, unknown(), "guess")
    other = login.login(new_address(), "grace", PASSWORD)
    assert (429, 200) == (last.status_code, other.status_code)


def test_an_account_attacked_from_many_callers_is_limited(login: LoginProgram) -> None:
    """The eleventh guess is refused, from whatever address, and the answer does not say which limit it was."""
    guesses = [login.login(new_address(), "edith", f"guess {number}") for number in range(LIMIT)]
    refused = login.login(new_address(), "EDITH", PASSWORD)
    assert [401] * LIMIT == [answer.status_code for answer in guesses]
    assert (429, False, False) == (
        refused.status_code,
        "violated-policies" in refused.json(),
        "RateLimit" in refused.headers,
    )
    assert 1 <= int(refused.headers["Retry-After"]) <= LONGEST_WAIT_S
    assert 200 == login.login(new_address(), "grace", PASSWORD).status_code


def test_an_account_that_nobody_has_is_limited_too(login: LoginProgram) -> None:
    """A limit that only existing accounts have would tell which exist."""
    name = unknown()
    codes = [login.login(new_address(), name, "guess").status_code for _ in range(LIMIT + 1)]
    assert [401] * LIMIT + [429] == codes


def test_a_refused_caller_uses_up_nobodys_account(login: LoginProgram, address: str) -> None:
    """The caller is asked first: after its ten, its guesses do not reach the account's limit."""
    name = unknown()
    for _ in range(LIMIT):
        login.login(address, unknown(), "guess")
    refused = [login.login(address, name, "guess").status_code for _ in range(LIMIT)]
    elsewhere = login.login(new_address(), name, "guess")
    assert ([429] * LIMIT, 401) == (refused, elsewhere.status_code)


def test_who_cannot_log_in_does_not_learn_why(login: LoginProgram, address: str) -> None:
    """An unknown account and a wrong password are answered with the same bytes."""
    unknown_account, wrong_password = login.login(address, unknown(), "guess"), login.login(address, "grace", "guess")
    assert 401 == wrong_password.status_code
    assert facts(unknown_account) == facts(wrong_password)


def test_an_unknown_account_takes_as_long() -> None:
    """The work is the same, in this thread's own time; half and double leave room for a busy machine."""
    kept = hashed("another")

    def seconds(known: str | None) -> float:
        begun = time.thread_time()
        assert not matches("guess", known)
        return time.thread_time() - begun

    seconds(None)  # makes the decoy
    unknown_s, known_s = (statistics.median(seconds(known) for _ in range(5)) for known in (None, kept))
    assert 0.5 < unknown_s / known_s < 2


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"account": "ada"}', b'{"account": "", "password": "p"}', b'{"account": 7, "password": "p"}'],
)
def test_what_is_no_login_is_told_so(login: LoginProgram, address: str, body: bytes) -> None:
    """It counts for the caller, and for no account."""
    answer = login.caller(address).post("/login", content=body)
    assert (400, True) == (answer.status_code, answer.headers["RateLimit"].startswith('"caller";r=9;'))


def test_a_login_too_large_to_be_one_is_not_read(login: LoginProgram, address: str) -> None:
    """No more than 4 KiB are kept of what may be anything."""
    assert 413 == login.caller(address).post("/login", content=b" " * 5000).status_code


def test_nothing_tells_who_logged_in(login: LoginProgram, address: str, oracle: Any) -> None:
    """Neither the log nor Redis has a name, a password or an address; the accounts' file has no password."""
    login.login(address, "ada-canary", PASSWORD)
    login.login(address, "ada-canary", "guess-canary")
    stored = b" ".join(oracle.scan_iter()) + b" ".join(
        oracle.get(key) or b"" for key in oracle.scan_iter(_type="string")
    )
    wait_until(lambda: "a login with a wrong name or password" in login.output, "the log says what happened")
    for told in (login.output, stored.decode(errors="replace"), login.accounts.read_text()):
        assert [] == [word for word in (PASSWORD, "guess-canary", address) if word in told]
    for told in (login.output, stored.decode(errors="replace")):
        assert "ada-canary" not in told
    assert 0o600 == login.accounts.stat().st_mode & 0o777


def test_without_its_limits_nobody_logs_in(tmp_path: Path, store: StoreServer) -> None:
    """With the store gone, then with the sidecar gone; both back, logins are as before."""
    store.start()
    sidecar = SidecarProgram(tmp_path / "sidecar", config=HOSPITAL, arguments=["--redis", store.url])
    with sidecar, LoginProgram(tmp_path / "login", sidecar.address, {"ada": PASSWORD}) as login:
        assert 200 == login.login(new_address(), "ada", PASSWORD).status_code
        for away, back in ((store.kill, store.start), (sidecar.stop, sidecar.start)):
            away()
            refused = login.login(new_address(), "ada", PASSWORD)
            assert (503, "application/problem+json") == (refused.status_code, refused.headers["Content-Type"])
            assert int(refused.headers["Retry-After"]) >= 1
            back()
            wait_until(lambda: login.login(new_address(), unknown(), "guess").status_code == 401, "the login is back")
        assert login.output.count("the rate limit 'caller' cannot be asked, requests are refused") >= 2


def test_who_waits_as_long_as_told_may_log_in(tmp_path: Path) -> None:
    """Retry-After is enough."""
    config = """
listen: ["{address}"]
caches: {sessions: {data_class: phi, ttl: 15m, max_ttl: 15m}}
rate_limits: {auth: {algorithm: sliding_window, limit: 2, window: 5s}}
"""
    sidecar = SidecarProgram(tmp_path / "sidecar", config=config)
    with sidecar, LoginProgram(tmp_path / "login", sidecar.address, {"ada": PASSWORD}) as login:
        address = new_address()
        answers = [login.login(address, "ada", PASSWORD) for _ in range(3)]
        assert [200, 200, 429] == [answer.status_code for answer in answers]
        time.sleep(int(answers[2].headers["Retry-After"]))
        assert 200 == login.login(address, "ada", PASSWORD).status_code


def facts(answer: Any) -> tuple[Any, ...]:
    """Return what an answer tells, but for the time and the caller's own limit."""
    own = {"date", "ratelimit"}
    return (
        answer.status_code,
        answer.content,
        {name: answer.headers[name] for name in answer.headers if name not in own},
    )


def peek(api: Api, key: str) -> rate_limit_pb2.PeekResponse:
    """Return what the policy says of a key."""
    answer: rate_limit_pb2.PeekResponse = api.limits.Peek(rate_limit_pb2.PeekRequest(policy="auth", key=key))
    return answer
