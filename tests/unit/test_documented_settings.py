"""The documents' own words: each configuration in them is one, and each link leads somewhere."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from sidecar.config import Settings, load

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *[ROOT / name for name in ("README.md", "CONTRIBUTING.md", "clients/python/README.md", "clients/go/README.md")],
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
_FENCED = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4}.*\n|^\n(?= {4}))+", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)(?P<file>[^)#\s]*)(?:#(?P<heading>[^)\s]+))?\)")
# What a fragment leaves out that it names.
_LEFT_OUT = {
    "origins": "origins: {ledger: {kind: service, address: 127.0.0.1:7000}}",
    "caches": "caches: {balances: {generations: true}}",
}


def configurations(document: Path) -> list[str]:
    """Return what begins with a section of the configuration, of the blocks of a document."""
    text = document.read_text()
    blocks = [match["text"] for match in _FENCED.finditer(text) if match["kind"] in {"", "yaml"}]
    blocks += [textwrap.dedent(block) for block in _INDENTED.findall(_FENCED.sub("", text))]
    return [block.strip() + "\n" for block in blocks if block.strip().partition(":")[0] in Settings.model_fields]


def completed(text: str) -> str:
    """Return a configuration with the sections that it refers to."""
    wanted = {"origins": "origin:" in text, "caches": "cache:" in text}
    missing = [
        part for name, part in _LEFT_OUT.items() if wanted[name] and not re.search(f"^{name}:", text, re.MULTILINE)
    ]
    return "\n".join([*missing, text])


def headings(document: Path) -> set[str]:
    """Return the names by which a document's headings are linked to."""
    found = re.findall(r"^#+ (.+)$", _FENCED.sub("", document.read_text()), re.MULTILINE)
    words = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in found]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in words}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_configurations_have_no_problem(document: Path, tmp_path: Path) -> None:
    """As they stand, but for the origin or the cache that a fragment names and leaves out."""
    file = tmp_path / "sidecar.yaml"
    for text in configurations(document):
        if "/etc/ratelimit" in text:
            continue  # a folder of Envoy's that is not there
        file.write_text(completed(text))
        load(file, {})


@pytest.mark.parametrize("name", ["caching", "near-cache", "write-behind", "events", "operations", "configuration"])
def test_the_manuals_have_configurations(name: str) -> None:
    """So that the test above tries something."""
    assert configurations(ROOT / "docs" / f"{name}.md")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """To a file that is there, and a heading of it."""
    dead = []
    for link in _LINK.finditer(_FENCED.sub("", document.read_text())):
        file = document.parent / link["file"] if link["file"] else document
        if not file.exists() or (link["heading"] and file.suffix == ".md" and link["heading"] not in headings(file)):
            dead.append(link[0])
    assert [] == dead


@pytest.mark.parametrize("pattern", ["sidecar/*/__init__.py", "tests/*/test_*.py", "examples/*/README.md"])
def test_the_map_names_every_folder(pattern: str) -> None:
    """README's map knows the packages, the kinds of tests, and the examples."""
    readme = (ROOT / "README.md").read_text()
    listed = readme[readme.index("## Where things are") : readme.index("## In a container")]
    assert [] == sorted({path.parent.name for path in ROOT.glob(pattern) if path.parent.name not in listed})
