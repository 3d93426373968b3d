"""The configuration files of envoyproxy/ratelimit: what they say, and what is said when they are wrong."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.envoy.folder import read_folder
from sidecar.config.envoy.model import EnvoyConfig, EnvoyDescriptor, EnvoyFile
from sidecar.config.envoy.reader import read
from sidecar.config.problems import ConfigError

# A checkout of envoyproxy/ratelimit, whose own examples must load.
EXAMPLES_VARIABLE = "ENVOY_RATELIMIT_SOURCE"

UNITS = "second, minute, hour, day, week, month, year"
ALGORITHMS = "fixed_window, sliding_window, token_bucket"

WHOLE = """
---
domain: shop
descriptors:
  # A value with a limit of its own, beside a default.
  - key: client
    rate_limit: {unit: minute, requests_per_unit: 100, name: usual}
  - key: client
    value: partner
    shadow_mode: true
    rate_limit:
      unit: HOUR
      requests_per_unit: 5_000
      replaces: [{name: usual}]
  - key: path
    value: /files/*
    share_threshold: true
    value_to_metric: yes
    quota_mode: on
    metadata: {anything: [1, {goes: here}], 1: 2}
    descriptors:
      - key: method
        detailed_metric: true
        rate_limit: {unlimited: true}
"""


def config(*texts: str, merge_domains: bool = False) -> EnvoyConfig:
    """Return what files of these texts say."""
    files = [EnvoyFile(f"{number}.yaml", text) for number, text in enumerate(texts)]
    return read(files, merge_domains=merge_domains)


def problems(*texts: str, merge_domains: bool = False) -> list[str]:
    """Return the problems of files of these texts."""
    with pytest.raises(ConfigError) as caught:
        config(*texts, merge_domains=merge_domains)
    return str(caught.value).splitlines()


def only(text: str) -> EnvoyDescriptor:
    """Return the one descriptor of a file."""
    (domain,) = config(text).domains
    (descriptor,) = domain.descriptors
    return descriptor


class TestMeaning:
    """What right files say."""

    def test_whole_file(self) -> None:
        """Every key of the format is read."""
        (domain,) = config(WHOLE).domains
        usual, partner, files = domain.descriptors
        assert "shop" == domain.name
        assert ("client", "client_partner", "path_/files/*") == (usual.composite, partner.composite, files.composite)
        assert usual.limit is not None
        assert partner.limit is not None
        assert ("usual", 100, "minute", ()) == (
            usual.limit.name, usual.limit.requests_per_unit, usual.limit.unit, usual.limit.replaces
        )  # fmt: skip
        assert (5000, "hour", ("usual",)) == (
            partner.limit.requests_per_unit, partner.limit.unit, partner.limit.replaces
        )  # fmt: skip
        assert (False, True) == (usual.shadow_mode, partner.shadow_mode)
        assert (True, True, True) == (files.share_threshold, files.value_to_metric, files.quota_mode)
        (nested,) = files.descriptors
        assert nested.limit is not None
        assert (True, None) == (nested.detailed_metric, nested.limit.unit)
        assert ({}, {"anything": [1, {"goes": "here"}], "1": 2}) == (usual.metadata, files.metadata)

    @pytest.mark.parametrize(
        ("written", "value"),
        [("007", "007"), ("true", "true"), ("1e3", "1e3"), ("''", ""), ("null", ""), ("~", ""), ("", ""), ("'~'", "~")],
    )
    def test_value_is_text_as_written(self, written: str, value: str) -> None:
        """Whatever a value looks like, it is the text that stands there."""
        assert value == only(f"domain: d\ndescriptors: [{{key: k, value: {written}}}]").value

    @pytest.mark.parametrize(
        ("written", "number"), [("0", 0), ("0x10", 16), ("010", 8), ("0o10", 8), ("0b11", 3), ("4294967295", 2**32 - 1)]
    )
    def test_numbers(self, written: str, number: int) -> None:
        """Numbers are those of YAML 1.1, up to the largest that there is."""
        text = f"domain: d\ndescriptors: [{{key: k, rate_limit: {{unit: day, requests_per_unit: {written}}}}}]"
        limit = only(text).limit
        assert limit is not None
        assert number == limit.requests_per_unit

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            ("text", "text"), ("'1'", "1"), ('"yes"', "yes"), ("yes", True), ("Off", False), ("~", None), ("", None),
            ("12", 12.0), ("-0x1F", -31.0), ("1_000", 1000.0), ("1.5", 1.5), (".5e-1", 0.05), ("08", 8.0),
            (".inf", math.inf), ("-.INF", -math.inf), ("1e999", "1e999"),
            ("123456789012345678901", 1.2345678901234568e20), ("0xFFFFFFFFFFFFFFFF", float(2**64 - 1)),
            ("0x10000000000000000", "0x10000000000000000"), ("0x" + "f" * 300, "0x" + "f" * 300),
            ("2026-11-25", "2026-11-25"), ("1.2.3", "1.2.3"), ("[]", []), ("{}", {}),
            ("[[a], {b: [c]}]", [["a"], {"b": ["c"]}]),
        ],
    )  # fmt: skip
    def test_metadata(self, written: str, value: object) -> None:
        """A scalar of metadata is what it looks like, and numbers are doubles."""
        found = only(f"domain: d\ndescriptors: [{{key: k, metadata: {{v: {written}}}}}]").metadata
        assert {"v": value} == found
        assert type(value) is type(found["v"])

    def test_metadata_merges(self) -> None:
        """`<<` works in metadata, too."""
        text = "domain: d\ndescriptors: [{key: k, metadata: {a: &a {x: 1, y: 2}, b: {<<: *a, y: 3}}}]"
        assert {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}} == only(text).metadata

    def test_anchors_and_merges(self) -> None:
        """Anchors, aliases and `<<` mean what they mean in YAML; a mapping's own keys go before merged ones."""
        text = """
domain: d
descriptors:
  - &base
    key: one
    shadow_mode: true
    rate_limit: &limit {unit: second, requests_per_unit: 3}
  - {<<: *base, key: two}
  - {key: three, rate_limit: {<<: [*limit, {unit: day, name: n}], requests_per_unit: 4}}
"""
        one, two, three = config(text).domains[0].descriptors
        assert ("two", True) == (two.key, two.shadow_mode)
        assert one.limit == two.limit
        assert three.limit is not None
        assert ("second", 4, "n") == (three.limit.unit, three.limit.requests_per_unit, three.limit.name)

    def test_domains_are_merged_on_demand(self) -> None:
        """With `merge_domains`, a domain has the descriptors of all files that name it."""
        files = ("domain: d\ndescriptors: [{key: a}]", "domain: e", "domain: d\ndescriptors: [{key: b}]")
        domains = config(*files, merge_domains=True).domains
        assert [("d", ["a", "b"]), ("e", [])] == [
            (domain.name, [descriptor.key for descriptor in domain.descriptors]) for domain in domains
        ]

    def test_extension(self) -> None:
        """`algorithm` and `burst` are read; the algorithm is the fixed window where none is named."""
        text = "{key: k, rate_limit: {unit: day, requests_per_unit: 9, algorithm: token_bucket, burst: 3}}"
        limit = only(f"domain: d\ndescriptors: [{text}]").limit
        plain = only("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 9}}]").limit
        assert limit is not None
        assert plain is not None
        assert [("token_bucket", 3), ("fixed_window", None)] == [
            (limit.algorithm, limit.burst), (plain.algorithm, plain.burst)
        ]  # fmt: skip

    def test_warnings(self) -> None:
        """What loads in envoyproxy/ratelimit but means nothing there loads, and is said."""
        text = """
domain: d
descriptors:
  - key: a
    rate_limit: {unit: day, requests_per_unit: 1, shadow_mode: true}
  - key: b
    rate_limit: {unit: day}
"""
        assert [
            "0.yaml:5: descriptors[0].rate_limit: `shadow_mode` means nothing here",
            "0.yaml:7: descriptors[1].rate_limit: has no `requests_per_unit`: nothing is let through",
        ] == [str(warning) for warning in config(text).warnings]


class TestProblems:
    """What wrong files are told."""

    def test_all_at_once(self) -> None:
        """Every problem of every file is told, with its line."""
        first = """
domain: d
descriptors:
  - value: v
  - key: a
    ratelimit: {unit: day}
  - key: b
    share_threshold: true
    rate_limit: {unit: fortnight, requests_per_unit: -1, replaces: [{name: }, {name: me}], name: me}
  - key: b
  - key: c
    shadow_mode: "true"
    rate_limit: {unlimited: true, unit: day}
"""
        assert [
            "0.yaml:4: descriptors[0].key: is missing",
            "0.yaml:6: descriptors[1]: unknown key `ratelimit`, did you mean `rate_limit`?",
            "0.yaml:8: descriptors[2].share_threshold: is for values with a wildcard (`*`)",
            "0.yaml:9: descriptors[2].rate_limit.requests_per_unit: -1 is not from 0 to 4294967295",
            f"0.yaml:9: descriptors[2].rate_limit.unit: `fortnight` is none of {UNITS}",
            "0.yaml:9: descriptors[2].rate_limit.replaces[0].name: is empty",
            "0.yaml:9: descriptors[2].rate_limit.replaces[1].name: is the limit's own name",
            "0.yaml:10: a descriptor `b` is already on 0.yaml:7",
            "0.yaml:12: descriptors[4].shadow_mode: must be true or false",
            "0.yaml:13: descriptors[4].rate_limit.unit: means nothing where `unlimited` is set",
            "1.yaml:1: domain: the domain `d` is already that of 0.yaml:2",
        ] == sorted(problems(first, "domain: d"), key=lambda line: (line[0], int(line.split(":")[1])))

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "0.yaml: domain: is missing"),
            ("descriptors:", "0.yaml:1: domain: is missing"),
            ("domain: ''", "0.yaml:1: domain: is empty"),
            ("domain: [d]", "0.yaml:1: domain: must be text"),
            ("- d", "0.yaml:1: must be a mapping of keys to values"),
            ("'''", "0.yaml:1:4: not valid YAML: while scanning a quoted scalar, found unexpected end of stream"),
            ("domain: d\n---\ndomain: e",
             "0.yaml:2:1: not valid YAML: expected a single document in the stream, but found another document"),
            ("domain: d\ndomain: e", "0.yaml:2: the key `domain` is given twice (first on line 1)"),
            ("domain: d\n? [a]\n: b", "0.yaml:2: a key must be a plain name"),
            ("domain: d\ndescriptors: {key: k}", "0.yaml:2: descriptors: must be a list"),
            ("domain: d\ndescriptors: [a]", "0.yaml:2: descriptors[0]: must be a mapping of keys to values"),
            ("domain: d\ndescriptors: [{key: ''}]", "0.yaml:2: descriptors[0].key: is empty"),
            ("domain: d\ndescriptors: [{key: a_b}, {key: a, value: b}]",
             "0.yaml:2: a descriptor `a_b` is already on 0.yaml:2"),
            ("domain: d\ndescriptors: [{key: a, rate_limit: 5}]",
             "0.yaml:2: descriptors[0].rate_limit: must be a mapping of keys to values"),
            ("domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 5}}]",
             "0.yaml:2: descriptors[0].rate_limit.unit: is missing"),
            ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1.5}}]",
             "0.yaml:2: descriptors[0].rate_limit.requests_per_unit: must be a whole number"),
            ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1, algorithm: gcra}}]",
             f"0.yaml:2: descriptors[0].rate_limit.algorithm: `gcra` is none of {ALGORITHMS}"),
            ("domain: d\ndescriptors: [{key: a, rate_limit: {unit: day, requests_per_unit: 1, burst: 2}}]",
             "0.yaml:2: descriptors[0].rate_limit.burst: is for `algorithm: token_bucket`"),
            ("domain: d\ndescriptors: [{key: a, metadata: [b]}]",
             "0.yaml:2: descriptors[0].metadata: must be a mapping of keys to values"),
            ("domain: d\ndescriptors: [{key: a, metadata: {b: 1,\n b: 2}}]",
             "0.yaml:3: descriptors[0].metadata.b: is given twice"),
            ("domain: d\ndescriptors: [{key: a, metadata: {b: {[c]: 1}}}]",
             "0.yaml:2: descriptors[0].metadata.b: a key must be a plain name"),
            ("domain: d\ndescriptors: [{key: a, metadata: {b: &b [*b]}}]",
             f"0.yaml:2: descriptors[0].metadata.b{'[0]' * 19}: is nested too deeply"),
            ("[" * 100, "0.yaml:1: is nested too deeply"),
            ("domain: d\ndescriptors: [&a {key: k, descriptors: [*a]}]", "0.yaml:2: is nested too deeply"),
        ],
    )  # fmt: skip
    def test_one(self, text: str, problem: str) -> None:
        """Each problem is named, with its place and no echo."""
        assert [problem] == problems(text)

    def test_aliases_do_not_grow_without_bound(self) -> None:
        """A few lines that stand for billions of descriptors are refused in time."""
        levels = "\n".join(f"  - &l{n} {{key: k{n}, descriptors: [*l{n - 1}, *l{n - 1}]}}" for n in range(1, 26))
        text = f"domain: d\ndescriptors:\n  - &l0 {{key: k0}}\n{levels}\n"
        assert ["holds too much; aliases count as often as they are used"] == [
            line.split(": ", 1)[1] for line in problems(text)
        ]

    def test_aliases_of_metadata_do_not_grow_without_bound(self) -> None:
        """Nor do those of metadata."""
        levels = ", ".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}, *l{n - 1}]" for n in range(1, 19))
        text = f"domain: d\ndescriptors: [{{key: k, metadata: {{l0: &l0 1, {levels}}}}}]\n"
        assert ["holds too much; aliases count as often as they are used"] == [
            line.split(": ", 1)[1] for line in problems(text)
        ]

    def test_merges_do_not_grow_without_bound(self) -> None:
        """So are mappings that merge each other twice, or themselves: each is looked at once."""
        levels = "\n".join(f"  - &m{n} {{<<: [*m{n - 1}, *m{n - 1}], value: '{n}'}}" for n in range(1, 40))
        (domain,) = config(f"domain: d\ndescriptors:\n  - &m0 {{key: k, <<: {{}}}}\n{levels}\n").domains
        assert 40 == len(domain.descriptors)

    @given(st.text(st.sampled_from("domain: descriptors[]{}&*-<\n'\"|>key: value\\ #~\t"), max_size=200))
    def test_any_text_ends_well(self, text: str) -> None:
        """Whatever a file holds, it is read, or its problems are."""
        with contextlib.suppress(ConfigError):
            config(text)


class TestFolder:
    """Which files of a folder count."""

    def test_yaml_files_by_name(self, tmp_path: Path) -> None:
        """The YAML files of the folder itself, in the order of their names."""
        for name in ("b.yaml", "a.yml", ".hidden.yaml", "c.yaml~", "readme.txt"):
            (tmp_path / name).write_text(name)
        (tmp_path / "within").mkdir()
        (tmp_path / "within" / "d.yaml").write_text("d")
        assert ["a.yml", "b.yaml"] == [file.text for file in read_folder(tmp_path)]

    def test_all_unreadable_files_are_named(self, tmp_path: Path) -> None:
        """What cannot be read is said of each."""
        (tmp_path / "a.yaml").write_bytes(b"\xff")
        (tmp_path / "b.yaml").mkdir()
        (tmp_path / "c.yaml").write_text("#" * (1 << 20) + "#")
        with pytest.raises(ConfigError) as caught:
            read_folder(tmp_path)
        assert [
            f"{tmp_path}/a.yaml: is not UTF-8 text",
            f"{tmp_path}/b.yaml: cannot be read: is a directory",
            f"{tmp_path}/c.yaml: is larger than 1 MiB",
        ] == str(caught.value).splitlines()

    def test_folder_without_files(self, tmp_path: Path) -> None:
        """An empty folder, or none, is a problem: it would be no limit at all."""
        missing = "cannot be read: no such file or directory"
        for folder, said in ((tmp_path, "holds no *.yaml file"), (tmp_path / "x", missing)):
            with pytest.raises(ConfigError) as caught:
                read_folder(folder)
            assert f"{folder}: {said}" == str(caught.value)


def test_the_peers_own_files() -> None:
    """Every example of envoyproxy/ratelimit's sources loads, and every file that is wrong there is wrong here."""
    source = os.environ.get(EXAMPLES_VARIABLE)
    if source is None:
        pytest.skip(f"{EXAMPLES_VARIABLE} names no checkout of envoyproxy/ratelimit")
    wrong_alone = {
        "bad_limit_unit", "bad_yaml", "duplicate_key", "empty_domain", "empty_key", "misspelled_key", "misspelled_key2",
        "non_map_list", "non_string_key", "replaces_empty", "replaces_self", "unlimited_with_unit",
    }  # fmt: skip
    for folder in ("examples/ratelimit/config", "test/integration/runtime/current/ratelimit/config"):
        assert () == read(read_folder(Path(source) / folder), merge_domains=False).warnings
    refused = set()
    for file in read_folder(Path(source) / "test/config"):
        try:
            read([file], merge_domains=False)
        except ConfigError:
            refused.add(Path(file.source).stem)
    assert wrong_alone == refused
