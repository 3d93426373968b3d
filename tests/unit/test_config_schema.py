"""The JSON schema, the reference and the example: they say what the models say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sidecar.config import Settings, load
from sidecar.config.quantities import Duration, parse_size
from sidecar.config.schema import render_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "hospital" / "sidecar.yaml"
SCHEMA: dict[str, Any] = json.loads(render_schema())


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference into the schema's definitions."""
    if "$ref" in node:
        definition: dict[str, Any] = SCHEMA["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return definition
    return node


def children(prop: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the sections that a map or a list holds, or that may be left out."""
    if path == "rate_limits.<name>.limits":
        return  # each is as one of `rate_limits`
    for variant in prop.get("anyOf", []):
        if "properties" in resolved(variant):
            yield path, resolved(variant)
    for item in prop.get("patternProperties", {}).values():
        for variant in item.get("oneOf", [item]):
            yield f"{path}.<name>", resolved(variant)
    items = prop.get("items", {})
    for variant in items.get("anyOf", [items]):
        if "properties" in resolved(variant):
            yield f"{path}[]", resolved(variant)


def reference_rows(node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Return the rows of the reference's tables."""
    for name, prop in node["properties"].items():
        at = f"{path}.{name}" if path else name
        section = resolved(prop)
        if "properties" in section:
            yield from reference_rows(section, at)
            continue
        default = f"`{json.dumps(prop['default'])}`" if "default" in prop else "required"
        choices = prop.get("enum") or ([prop["const"]] if "const" in prop else [])
        listed = ", ".join(f"`{choice}`" for choice in choices)
        one_of = f" {'One of ' if len(choices) > 1 else ''}{listed}." if choices else ""
        yield f"| `{at}` | {default} | {prop['description']}{one_of} |"
        for below, child in children(prop, at):
            yield from reference_rows(child, below)


def test_committed_schema_is_fresh() -> None:
    """The committed schema is what the models give; `make proto` writes it anew."""
    assert (ROOT / "docs" / "sidecar.schema.json").read_text() == render_schema()


def test_schema_refuses_unknown_keys_everywhere() -> None:
    """An editor marks a key that the loader would refuse."""
    loose = [name for name, node in SCHEMA["$defs"].items() if node["additionalProperties"] is not False]
    assert loose == []
    assert SCHEMA["additionalProperties"] is False
    assert SCHEMA["properties"]["caches"]["additionalProperties"] is False


def test_schema_describes_every_setting() -> None:
    """Each setting has a title and a description for the editor to show."""
    sections = {**SCHEMA["$defs"], "Settings": SCHEMA}
    silent = [
        (section, name)
        for section, node in sections.items()
        for name, prop in node["properties"].items()
        if "$ref" not in prop and not (prop.get("title") and prop.get("description"))
    ]
    assert silent == []


def test_schema_defaults_are_as_written_in_the_file() -> None:
    """Durations and sizes stand as text, so that an editor can insert them."""
    limits = SCHEMA["$defs"]["LimitSettings"]["properties"]
    assert limits["default_deadline"]["default"] == "5s"
    assert parse_size(limits["max_value_bytes"]["default"]) == Settings().limits.max_value_bytes
    assert parse_size(limits["max_message_bytes"]["default"]) == Settings().limits.max_message_bytes
    embedded = SCHEMA["$defs"]["EmbeddedSettings"]["properties"]
    assert parse_size(embedded["max_memory"]["default"]) == Settings().store.embedded.max_memory


def test_reference_has_every_setting() -> None:
    """docs/configuration.md has a row for each setting, with the default and meaning of the model."""
    lines = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    assert [row for row in reference_rows(SCHEMA) if row not in lines] == []


def test_reference_has_no_other_setting() -> None:
    """docs/configuration.md has no row for a setting that is gone."""
    lines = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    rows = set(reference_rows(SCHEMA))
    assert [line for line in lines if re.match(r"\| `[a-z]", line) and line not in rows] == []


def test_example_loads() -> None:
    """The example is valid as it stands."""
    assert load(EXAMPLE, {}).tenant == "hospital"


def test_example_names_the_schema() -> None:
    """An editor finds the schema by the example's first line."""
    first_line = EXAMPLE.read_text().splitlines()[0]
    path = first_line.removeprefix("# yaml-language-server: $schema=")
    assert (EXAMPLE.parent / path).resolve() == ROOT / "docs" / "sidecar.schema.json"


def test_example_patients_are_phi() -> None:
    """The example keeps patients as PHI, for a quarter of an hour at most."""
    patients = load(EXAMPLE, {}).caches["patients"]
    assert patients.data_class == "phi"
    assert patients.longest_ttl == Duration.parse("15m")
    assert patients.phi_fields == ("name", "birth_date", "ssn", "phone", "address", "notes")


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("auth", "sliding_window"),
        ("api", "token_bucket"),
        ("bench_bucket", "token_bucket"),
        ("bench_window", "sliding_window"),
    ],
)
def test_example_limits(name: str, algorithm: str) -> None:
    """The example has the limits that the tour and the benchmarks use."""
    assert load(EXAMPLE, {}).rate_limits[name].algorithm == algorithm
