"""Settings from the environment and from flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sidecar.config import ConfigError, Settings, load
from sidecar.config.model import EmbeddedSettings
from sidecar.config.quantities import Duration


def problems(environ: dict[str, str], file: Path | None = None, **overrides: Any) -> list[str]:
    """Return what is said of an environment."""
    with pytest.raises(ConfigError) as caught:
        load(file, environ, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_variable_sets_a_setting() -> None:
    """The path in capitals, joined by two underscores."""
    assert load(None, {"SIDECAR_LIMITS__MAX_KEY_BYTES": "128"}).limits.max_key_bytes == 128


def test_a_variable_makes_a_cache() -> None:
    """A cache that the file does not name comes into being; the built-in one goes."""
    caches = load(None, {"SIDECAR_CACHES__PATIENTS__TTL": "10m"}).caches
    assert {name: cache.ttl for name, cache in caches.items()} == {"patients": Duration.parse("10m")}


def test_a_variable_finds_a_name_with_a_hyphen(tmp_path: Path) -> None:
    """A hyphen in a name of the file is an underscore in the variable."""
    file = tmp_path / "sidecar.yaml"
    file.write_text("caches: {user-data: {ttl: 1m}}")
    caches = load(file, {"SIDECAR_CACHES__USER_DATA__TTL": "2m"}).caches
    assert {name: cache.ttl for name, cache in caches.items()} == {"user-data": Duration.parse("2m")}


def test_flags_win_over_the_environment_and_it_over_the_file(tmp_path: Path) -> None:
    """The nearer to the process, the stronger."""
    file = tmp_path / "sidecar.yaml"
    file.write_text("tenant: file\nstore: {client_name: file, url: 'redis://file'}")
    environ = {"SIDECAR_STORE__CLIENT_NAME": "environ", "SIDECAR_REDIS_URL": "redis://environ"}
    settings = load(file, environ, {"store.url": "redis://flag"})
    assert (settings.tenant, settings.store.client_name, settings.store.url) == ("file", "environ", "redis://flag")


def test_a_section_as_yaml_gives_way_to_its_parts() -> None:
    """A variable for a whole section is written over by those for its parts, in whatever order they come."""
    environ = {"SIDECAR_REDIS_URL": "redis://part", "SIDECAR_STORE": "{url: 'redis://whole', connections: 2}"}
    store = load(None, environ).store
    assert (store.url, store.connections) == ("redis://part", 2)


def test_a_list_as_yaml() -> None:
    """A list is written as YAML."""
    settings = load(None, {"SIDECAR_ENCRYPTION__KEYS": "[{env: A}, {file: b}]"})
    assert [(key.env, key.file) for key in settings.encryption.keys] == [("A", None), (None, "b")]


def test_listen_is_separated_by_commas() -> None:
    """Addresses need no YAML, so that [::1] can be one."""
    listen = load(None, {"SIDECAR_LISTEN": "[::1]:1, unix:/run/a.sock"}).listen
    assert [listener.address for listener in listen] == ["[::1]:1", "unix:/run/a.sock"]


@pytest.mark.parametrize("name", ["123", "true", "a:b", "#a", "*a", "[a]"])
def test_text_stands_for_itself(name: str) -> None:
    """Where a setting is text, the variable is not parsed."""
    assert load(None, {"SIDECAR_STORE__CLIENT_NAME": name}).store.client_name == name


def test_null_turns_a_setting_off() -> None:
    """`null` is null also where a setting is text."""
    assert load(None, {"SIDECAR_TELEMETRY__METRICS__ADDRESS": "null"}).telemetry.metrics.address is None


def test_an_empty_variable_is_not_set() -> None:
    """An empty variable, as deployment tools leave behind, changes nothing."""
    assert load(None, {"SIDECAR_REDIS_URL": "", "SIDECAR_NONSENSE": ""}) == Settings()


def test_a_problem_names_its_variable() -> None:
    """What came from the environment is reported by the variable's name."""
    assert problems({"SIDECAR_STORE__CONNECTIONS": "0"}) == [
        "SIDECAR_STORE__CONNECTIONS: store.connections: 0 is below the least allowed, 1"
    ]


def test_a_problem_of_the_short_name() -> None:
    """A convenience variable is reported under its own name."""
    assert problems({"SIDECAR_REDIS_URL": "host:6379"}) == [
        "SIDECAR_REDIS_URL: store.url: the store's URL must begin with redis://, rediss:// or unix://"
    ]


def test_a_problem_names_its_flag() -> None:
    """What came from the command line is reported by the flag's name."""
    assert problems({}, None, listen=["x"]) == [
        "--listen: listen[0].address: an address is host:port, [IPv6]:port or unix:/path, such as 127.0.0.1:50051"
    ]


def test_a_problem_of_an_unknown_override() -> None:
    """An override that means nothing is a problem too."""
    assert problems({}, None, tenat="x") == ["flags: unknown key `tenat`, did you mean `tenant`?"]


def test_a_rule_broken_by_the_environment(tmp_path: Path) -> None:
    """A rule between the file and the environment is reported where the setting to change was set."""
    file = tmp_path / "sidecar.yaml"
    file.write_text("caches: {a: {max_ttl: 15m}}")
    assert problems({"SIDECAR_CACHES__A__TTL": "20m"}, file) == [
        "SIDECAR_CACHES__A__TTL: caches.a.ttl: 20m is above max_ttl (15m)"
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SIDECAR_STORE__URI", "SIDECAR_STORE__URL"),
        ("SIDECAR_LIMITS__MAX_KEY", "SIDECAR_LIMITS__MAX_KEY_BYTES"),
        ("SIDECAR_REDISURL", "SIDECAR_REDIS_URL"),
        ("SIDECAR_CACHES__DEFAULT__TLL", "SIDECAR_CACHES__DEFAULT__TTL"),
    ],
)
def test_an_unknown_variable_suggests_the_nearest(tmp_path: Path, name: str, meant: str) -> None:
    """A misspelt variable is a problem, with the name that was meant."""
    file = tmp_path / "sidecar.yaml"
    file.write_text("caches: {default: {}}")
    assert problems({name: "1"}, file) == [f"{name}: unknown variable, did you mean `{meant}`?"]


def test_an_unknown_variable_does_not_show_its_value() -> None:
    """A secret in a misspelt variable stays there."""
    assert problems({"SIDECAR_PASSWORD": "hunter2"}) == ["SIDECAR_PASSWORD: unknown variable"]


@pytest.mark.parametrize("name", ["SIDECAR_TENANT__X", "SIDECAR_ENCRYPTION__KEYS__0__ENV", "SIDECAR_", "SIDECAR___"])
def test_a_variable_that_leads_nowhere(name: str) -> None:
    """A name below a single setting, an index, or no name at all is unknown."""
    assert problems({name: "1"})[0].startswith(f"{name}: unknown variable")


@pytest.mark.parametrize(
    "name",
    [
        "SIDECAR_CONFIG",
        "SIDECAR_REQUIRE_REDIS",
        "SIDECAR_SERVICE_HOST",
        "SIDECAR_SERVICE_PORT_GRPC",
        "SIDECAR_PORT",
        "SIDECAR_PORT_50051_TCP_ADDR",
        "SIDECAR_CANARY_SERVICE_HOST",
    ],
)
def test_a_variable_of_others_is_let_be(name: str) -> None:
    """What the command line reads, and what Kubernetes makes for a service of that name, is no problem."""
    assert load(None, {name: "1"}) == Settings()


def test_a_variable_that_the_settings_name_is_let_be() -> None:
    """A key or password may be in a variable that begins as ours do."""
    environ = {
        "SIDECAR_ENCRYPTION__KEYS": "[{env: SIDECAR_KEK}]",
        "SIDECAR_KEK": "x",
        "SIDECAR_REDIS_URL": "redis://host",
        "SIDECAR_STORE__PASSWORD_ENV": "SIDECAR_SECRET",
        "SIDECAR_SECRET": "x",
    }
    load(None, environ)


def test_two_variables_for_one_setting() -> None:
    """A short name beside the long one is refused: nobody should have to know which wins."""
    environ = {"SIDECAR_REDIS_URL": "redis://a", "SIDECAR_STORE__URL": "redis://b"}
    assert problems(environ) == ["SIDECAR_STORE__URL: store.url: says the same as SIDECAR_REDIS_URL; set one of them"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1", "not valid YAML: while parsing a flow sequence, did not find expected ',' or ']'"),
        ("{url: a, url: b}", "the key `url` is given twice"),
        ("\udcff", "is not UTF-8 text"),
    ],
)
def test_a_variable_that_is_not_yaml(text: str, problem: str) -> None:
    """A value that cannot be parsed is one line, without the value."""
    assert problems({"SIDECAR_STORE": text}) == [f"SIDECAR_STORE: {problem}"]


@pytest.mark.parametrize(
    ("settings", "environ", "folder"),
    [
        (EmbeddedSettings(state_dir="there"), {"XDG_STATE_HOME": "/state"}, "there"),
        (EmbeddedSettings(), {"XDG_STATE_HOME": "/state", "HOME": "/home/a"}, "/state/sidecar"),
        (EmbeddedSettings(), {"XDG_STATE_HOME": "relative", "HOME": "/home/a"}, "/home/a/.local/state/sidecar"),
        (EmbeddedSettings(), {"HOME": "/home/a"}, "/home/a/.local/state/sidecar"),
    ],
)
def test_state_folder(settings: EmbeddedSettings, environ: dict[str, str], folder: str) -> None:
    """The setting, else the XDG state folder, else its default below the home folder."""
    assert settings.folder(environ) == Path(folder)
