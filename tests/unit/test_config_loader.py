"""Loading a file: what is read from it, and what is said when it is wrong."""

# ruff: noqa: E501 (in the tables a case stays on one line)
from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from sidecar.config import ConfigError, Settings, load
from sidecar.config.model import ListenerSettings
from sidecar.config.policies import CacheSettings, TokenBucketSettings
from sidecar.config.quantities import Duration, Rate
from sidecar.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the tests' configuration lies."""
    return tmp_path / "sidecar.yaml"


def load_text(file: Path, text: str) -> Settings:
    """Load a configuration with this text."""
    file.write_text(textwrap.dedent(text))
    return load(file, {})


def problems(file: Path, text: str) -> list[str]:
    """Return what is said of a configuration with this text, without the folder."""
    with pytest.raises(ConfigError) as caught:
        load_text(file, text)
    return [str(problem).removeprefix(f"{file.parent}/") for problem in caught.value.problems]


def test_no_configuration_has_a_cache_and_a_limit() -> None:
    """With nothing configured there are a cache and a limit to try out."""
    settings = load(None, {})
    assert settings.caches == {"default": CacheSettings(ttl=Duration.parse("5m"))}
    assert settings.rate_limits == {
        "default": TokenBucketSettings(algorithm="token_bucket", rate=Rate.parse("100/s"), burst=200)
    }


def test_no_configuration_serves_on_loopback() -> None:
    """With nothing configured nobody outside of the machine can call."""
    assert load(None, {}).listen == (ListenerSettings(address="127.0.0.1:50051"),)


def test_own_caches_replace_the_default(file: Path) -> None:
    """A file that names caches has those and no others."""
    assert list(load_text(file, "caches: {a: {ttl: 1s}}").caches) == ["a"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "caches:\n", "store:\n  tls:\nlimits:\n", "---\n"])
def test_an_empty_file_or_section_has_the_defaults(file: Path, text: str) -> None:
    """A section whose lines are all commented out is as good as absent."""
    assert load_text(file, text) == Settings()


def test_a_cache_that_is_only_named_has_the_defaults(file: Path) -> None:
    """A name is enough for a cache."""
    assert load_text(file, "caches:\n  a:\n").caches == {"a": CacheSettings()}


def test_a_listener_may_be_an_address_or_a_mapping(file: Path) -> None:
    """Both forms of a listener stand side by side."""
    text = 'listen: ["[::1]:0", {address: unix:/run/a.sock, engine: grpcio}]'
    assert [listener.address for listener in load_text(file, text).listen] == ["[::1]:0", "unix:/run/a.sock"]


def test_only_true_and_false_are_booleans(file: Path) -> None:
    """A cache may be named `no`: YAML 1.1's surprises are off."""
    assert list(load_text(file, "caches: {no: {}, on: {}}").caches) == ["no", "on"]


def test_sizes_may_be_numbers_or_text(file: Path) -> None:
    """A size is bytes, or a number and a unit."""
    limits = load_text(file, "limits: {max_value_bytes: 2048, max_message_bytes: 1MiB}").limits
    assert (limits.max_value_bytes, limits.max_message_bytes) == (2048, 1 << 20)


def test_a_phi_cache_allows_its_ttl_at_most() -> None:
    """Without max_ttl, no caller can keep PHI longer than the cache's own TTL."""
    assert CacheSettings(data_class="phi").longest_ttl == Duration.parse("5m")


def test_another_cache_allows_any_ttl() -> None:
    """Without max_ttl, a caller of another cache may ask for any TTL."""
    assert CacheSettings().longest_ttl is None


def test_settings_cannot_be_changed() -> None:
    """Whoever holds the settings can rely on them."""
    name = "tenant"
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Settings(), name, "other")


def test_settings_made_in_code_keep_the_rules() -> None:
    """The rules between settings hold however settings come about."""
    with pytest.raises(ValidationError, match="needs key_prefix"):
        Settings(caches={"a": CacheSettings(format="raw")})


def test_every_problem_is_reported_at_once(file: Path) -> None:
    """Syntax aside, one reading finds all there is to mend: names, types, bounds and rules, in the file's order."""
    found = problems(
        file,
        """\
        tenant: Hospital
        cachs: {}
        store:
          connections: 40
          connect_timeout: 5
        caches:
          patients:
            data_class: phi
            ttl: 20m
            max_ttl: 15m
            stale: 1s
          patients: {}
        rate_limits:
          a: {algorithm: token_buckets, rate: 1/s, burst: 1}
          b: {algorithm: sliding_window, limit: -1}
        encryption:
          keys: [{file: a, env: B}]
        reflection: 1
        """,
    )
    assert found == [
        "sidecar.yaml:1: tenant: must match ^[a-z][a-z0-9_-]{0,30}$",
        "sidecar.yaml:2: unknown key `cachs`, did you mean `caches`?",
        "sidecar.yaml:4: store.connections: 40 is above the most allowed, 16",
        "sidecar.yaml:5: store.connect_timeout: 5 has no unit; write 5s for seconds",
        "sidecar.yaml:9: caches.patients.ttl: 20m is above max_ttl (15m)",
        "sidecar.yaml:11: caches.patients: unknown key `stale`, did you mean `stale_for`?",
        "sidecar.yaml:12: caches: the key `patients` is given twice (first on line 7)",
        "sidecar.yaml:14: rate_limits.a: `token_buckets` is none of token_bucket, gcra, sliding_window, sliding_log, fixed_window, concurrency, combined, did you mean `token_bucket`?",
        "sidecar.yaml:15: rate_limits.b.limit: -1 is below the least allowed, 0",
        "sidecar.yaml:15: rate_limits.b.window: is missing",
        "sidecar.yaml:17: encryption.keys[0]: needs exactly one of `file` and `env`",
        "sidecar.yaml:18: reflection: must be true or false",
    ]


def test_the_text_of_the_error_is_a_line_for_each_problem(file: Path) -> None:
    """What is printed is the problems, one a line."""
    file.write_text("a: 1\nb: 2\n")
    with pytest.raises(StartupError) as caught:
        load(file, {})
    assert str(caught.value).splitlines() == [f"{file}:1: unknown key `a`", f"{file}:2: unknown key `b`"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("limits: {max_key_bytes: true}", "limits.max_key_bytes: must be a whole number"),
        ("limits: {max_key_bytes: 1.5}", "limits.max_key_bytes: must be a whole number"),
        ("limits: {max_key_bytes: }", "limits.max_key_bytes: must be a whole number"),
        ("limits: {max_value_bytes: 1TB}", "limits.max_value_bytes: a size is a whole number and one of B, KiB, MiB, GiB, such as 1MiB"),
        ("limits: {max_value_bytes: 1}", "limits.max_value_bytes: 1B is below the least allowed, 1KiB"),
        ("limits: {max_value_bytes: -1}", "limits.max_value_bytes: -1 is below the least allowed, 1KiB"),
        ("limits: {max_value_bytes: 1GiB}", "limits.max_value_bytes: 1GiB is above the most allowed, 64MiB"),
        ("limits: {max_value_bytes: []}", "limits.max_value_bytes: must be a size, such as 1MiB"),
        ("limits: 5", "limits: must be a mapping of keys to values"),
        ("caches: []", "caches: must be a mapping of names to settings"),
        ("caches: {Bad: {}}", "caches.Bad: must match ^[a-z][a-z0-9_-]{0,62}$"),
        ("caches: {a: {ttl: 1h30m}}", "caches.a.ttl: a duration is a whole number and one of ms, s, m, h, d, such as 30s"),
        ("caches: {a: {ttl: 0}}", "caches.a.ttl: 0s is below the least allowed, 1ms"),
        ("caches: {a: {ttl: 366d}}", "caches.a.ttl: 366d is above the most allowed, 365d"),
        ("caches: {a: {ttl: [1]}}", "caches.a.ttl: must be a duration, such as 30s"),
        ("caches: {a: {ttl_jitter: true}}", "caches.a.ttl_jitter: must be a number"),
        ("caches: {a: {ttl_jitter: 0.6}}", "caches.a.ttl_jitter: 0.6 is above the most allowed, 0.5"),
        ("caches: {a: {data_class: PHI}}", "caches.a.data_class: `PHI` is none of public, internal, phi, did you mean `phi`?"),
        ("caches: {a: {data_class: 1}}", "caches.a.data_class: must be one of public, internal, phi"),
        ("caches: {a: {strategy: x}}", "caches.a.strategy: `x` is none of cache_aside, read_through, write_through, refresh_ahead, write_behind"),
        ("tenant: 5", "tenant: must be text; a number or true and false need quotes"),
        ("listen: []", "listen: must not be empty"),
        ("listen: 127.0.0.1:50051", "listen: must be a list, such as [a, b]"),
        ("listen: [50051]", "listen[0]: must be an address, such as 127.0.0.1:50051, or a mapping with `address`"),
        ("listen: [localhost]", "listen[0].address: an address is host:port, [IPv6]:port or unix:/path, such as 127.0.0.1:50051"),
        ("listen: ['a:65536']", "listen[0].address: port 65536 is above 65535"),
        ("listen: ['unix:a']", "listen[0].address: a Unix socket needs an absolute path: unix:/run/sidecar.sock"),
        (f"listen: ['unix:/{'a' * 107}']", "listen[0].address: the path of a Unix socket has at most 107 bytes"),
        ("listen: [{adress: 'a:1'}]", "listen[0]: unknown key `adress`, did you mean `address`?"),
        ("listen: [{engine: grpcio}]", "listen[0].address: is missing"),
        ("store: {client_name: a b}", "store.client_name: must match ^[!-~]{1,64}$"),
        ("store: {tls: {ca_file: ''}, url: 'rediss://a'}", "store.tls.ca_file: must not be empty"),
        ("rate_limits: {a: {rate: 1/s}}", "rate_limits.a: needs `algorithm`: one of token_bucket, gcra, sliding_window, sliding_log, fixed_window, concurrency; or `limits`, to combine several"),
        ("rate_limits: {a: {algoritm: token_bucket}}", "rate_limits.a: unknown key `algoritm`, did you mean `algorithm`?"),
        ("rate_limits: {a: {algorithm: 1}}", "rate_limits.a: must be one of token_bucket, gcra, sliding_window, sliding_log, fixed_window, concurrency, combined"),
        ("rate_limits: {a: {limits: {}}}", "rate_limits.a.limits: must not be empty"),
        ("rate_limits: {a: {limits: {b: {}}}}", "rate_limits.a.limits.b: needs `algorithm`: one of token_bucket, gcra, sliding_window, sliding_log, fixed_window"),
        ("rate_limits: {a: {limits: {b: {algorithm: gcra, rate: 1/s, brst: 1, burst: 1}}}}", "rate_limits.a.limits.b: unknown key `brst`, did you mean `burst`?"),
        ("rate_limits: {a: {limits: {B: {algorithm: gcra, rate: 1/s, burst: 1}}}}", "rate_limits.a.limits.B: must match ^[a-z][a-z0-9_-]{0,62}$"),
        ("rate_limits: {a: {limits: {b: {algorithm: sliding_log, limit: 1, window: 1}}}}", "rate_limits.a.limits.b.window: 1 has no unit; write 1s for seconds"),
        ("rate_limits: {a: 1}", "rate_limits.a: must be a mapping of keys to values"),
        ("caches: {a: {origin: ledger}}", "caches.a.origin: must be a mapping with the keys name, load, store, remove"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 0/s, burst: 1}}", "rate_limits.a.rate: 0/s is below the least allowed, 1/d"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 1000001/s, burst: 1}}", "rate_limits.a.rate: 1000001/s is above the most allowed, 1000000/s"),
        ("rate_limits: {a: {algorithm: token_bucket, rate: 5, burst: 1}}", "rate_limits.a.rate: must be a rate, such as 100/s"),
        ("rate_limits: {a: {algorithm: concurrency, limit: 10001}}", "rate_limits.a.limit: 10001 is above the most allowed, 10000"),
        ("rate_limits: {a: {algorithm: concurrency, limit: 1, lease: 9ms}}", "rate_limits.a.lease: 9ms is below the least allowed, 10ms"),
        (f"encryption: {{keys: [{'{env: A}, ' * 17}]}}", "encryption.keys: holds more than 16 items"),
        (f"telemetry: {{traces: {{service_name: {'a' * 4097}}}}}", "telemetry.traces.service_name: is longer than 4096 characters"),
    ],
)  # fmt: skip
def test_one_wrong_setting(file: Path, text: str, problem: str) -> None:
    """Each kind of mistake gets one sentence that says what to write instead."""
    assert problems(file, text) == [f"sidecar.yaml:1: {problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("caches:\n\ta: {}", "sidecar.yaml:2:1: not valid YAML: there is a tab; indent with spaces"),
        ("a: [1, 2", "sidecar.yaml:2:1: not valid YAML: while parsing a flow sequence, did not find expected ',' or ']'"),
        ("a: b: c", "sidecar.yaml:1:5: not valid YAML: mapping values are not allowed in this context"),
        ("a: 1\n\tb: 2", "sidecar.yaml:2:1: not valid YAML: while scanning a plain scalar, found a tab character that violates indentation"),
        ("a: \x00", "sidecar.yaml: not valid YAML: it holds control characters"),
        ("a: &x 1", "sidecar.yaml:1: a: anchors and aliases are not supported"),
        ("a: *x", "sidecar.yaml:1: a: anchors and aliases are not supported"),
        ("a: !!str 1", "sidecar.yaml:1: a: tags such as !!str are not supported"),
        ("a: !!python/object:os.system x", "sidecar.yaml:1: a: tags such as !!str are not supported"),
        ("? [a]\n: 1", "sidecar.yaml:1: a key must be a plain name"),
        ("a: 1\n---\nb: 1", "sidecar.yaml:2: holds a second document (`---`)"),
        ("- a", "sidecar.yaml: must be a mapping of keys to values at its top"),
        ("a: " + "[" * 40, "sidecar.yaml:1: is nested too deeply"),
    ],
)  # fmt: skip
def test_text_that_is_no_configuration(file: Path, text: str, problem: str) -> None:
    """What cannot be read as a mapping is one problem, with its line and column."""
    assert problems(file, text) == [problem]


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is one clear line."""
    path = tmp_path / "none.yaml"
    with pytest.raises(ConfigError) as caught:
        load(path, {"SIDECAR_NONSENSE": "1"})
    assert str(caught.value) == f"{path}: cannot be read: no such file or directory"


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    """A path that is a folder is one clear line."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})
    assert str(caught.value) == f"{tmp_path}: cannot be read: is a directory"


def test_a_file_that_is_not_text(file: Path) -> None:
    """Bytes that are no UTF-8 are one clear line, with the place."""
    file.write_bytes(b"tenant: a\nlisten: \xff\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(caught.value) == f"{file}:2: is not UTF-8 text"


def test_a_file_that_is_too_large(file: Path) -> None:
    """A file beyond any configuration is not even parsed."""
    file.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(caught.value) == f"{file}: is larger than 1 MiB"


def test_an_unprintable_key_stays_on_its_line(file: Path) -> None:
    """A hostile key cannot forge lines of output."""
    assert problems(file, '"a\\nb": 1') == ['sidecar.yaml:1: unknown key `"a\\nb"`']


def test_the_store_url_is_not_repeated(file: Path) -> None:
    """A wrong URL may hold a password, so it is described and not shown."""
    assert problems(file, "store: {url: 'ftp://bob:secret@host'}") == [
        "sidecar.yaml:1: store.url: the store's URL must begin with redis://, rediss:// or unix://"
    ]


def test_the_store_url_is_not_in_the_repr() -> None:
    """Logging the settings does not log the password."""
    assert "secret" not in repr(load(None, {"SIDECAR_REDIS_URL": "redis://:secret@host"}))


@pytest.mark.parametrize(("written", "expected"), [("1", 1), ("64", 64), ("auto", "auto"), ("'auto'", "auto")])
def test_workers(file: Path, written: str, expected: int | str) -> None:
    """A number of workers, or the word for as many as make use of the machine."""
    assert load_text(file, f"workers: {written}").workers.written == expected


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("0", "0 is not from 1 to 64"),
        ("65", "65 is not from 1 to 64"),
        ("true", "must be a whole number from 1 to 64, or auto"),
        ("2.0", "must be a whole number from 1 to 64, or auto"),
        ("'2'", "must be a whole number from 1 to 64, or auto"),
    ],
)
def test_workers_refused(file: Path, written: str, problem: str) -> None:
    """Neither none nor hundreds, and nothing that only looks like a number."""
    assert problems(file, f"workers: {written}") == [f"sidecar.yaml:1: workers: {problem}"]


def test_workers_from_elsewhere() -> None:
    """The variable is read as YAML; the flag wins, and is named when it is wrong."""
    assert load(None, {"SIDECAR_WORKERS": "3"}).workers.written == 3
    assert load(None, {"SIDECAR_WORKERS": "auto"}, {"workers": 2}).workers.written == 2
    with pytest.raises(ConfigError, match=r"^--workers: workers: 0 is not from 1 to 64$"):
        load(None, {}, {"workers": 0})
