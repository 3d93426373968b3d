"""Texts with places to fill in."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.template import MOST_TEXTS, Template, TooManyTextsError, texts_at

NAMES = st.sampled_from(["a", "b", "ward", "id"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text("xyz:{}", max_size=3))
FIELDS = st.dictionaries(
    NAMES,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)),
    max_size=4,
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize(
    ("text", "fields", "rendered"),
    [
        ("fixed", {}, ["fixed"]),
        ("account-{id}", {"id": 7}, ["account-7"]),
        ("account-{new.id}", {"new": {"id": "x"}}, ["account-x"]),
        ("{{{id}}}", {"id": 7}, ["{7}"]),
        ("{id}:{id}", {"id": 7}, ["7:7"]),
        ("{is_open}", {"is_open": True}, ["true"]),
        ("{price}", {"price": Decimal("12.50")}, ["12.50"]),
        ("{ids}", {"ids": [1, 2, 1]}, ["1", "2"]),
        ("{rows.a}-{rows.b}", {"rows": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}, ["1-2", "3-4"]),
        ("{a}-{b}", {"a": [1, 2], "b": [3, 4]}, ["1-3", "1-4", "2-3", "2-4"]),
        ("{rows.a}-{rows.b}", {"rows": [{"a": 1}, {"a": 3, "b": 4}]}, ["3-4"]),
        ("{a}", {}, []),
        ("{a}", {"a": None}, []),
        ("{a}", {"a": ""}, []),
        ("{a}", {"a": {"b": 1}}, []),
        ("{a.b}", {"a": 1}, []),
        ("{a}{a.b}", {"a": {"b": 1}}, []),
        ("{a}", {"a": []}, []),
    ],
)
def test_rendering(text: str, fields: dict[str, Any], rendered: list[str]) -> None:
    """Each place is filled in, for each item of a list; what lacks a field gives nothing."""
    assert rendered == Template(text).render(fields)


@pytest.mark.parametrize(
    "text", ["{", "}", "a{b", "a}b", "{}", "{a.}", "{.a}", "{a..b}", "{ a}", "{{a}", "{a}}", "{a{b}}"]
)
def test_what_is_no_template(text: str) -> None:
    """A sentence says why."""
    with pytest.raises(ValueError, match=r"brace|field"):
        Template(text)


@given(fields=FIELDS, paths=st.lists(PATHS, min_size=1, max_size=2))
def test_places_are_filled_from_what_stands_there(fields: dict[str, Any], paths: list[tuple[str, ...]]) -> None:
    """Every text is made of values that stand at its paths, and a single place gives each of them."""
    template = Template("|".join("{" + ".".join(path) + "}" for path in paths))
    rendered = template.render(fields)
    written = [
        {("true" if one else "false") if isinstance(one, bool) else str(one) for one in texts_at(fields, path)}
        for path in paths
    ]
    for text in rendered:
        parts = text.split("|")
        assert len(parts) == len(paths)
        assert all(part in known for part, known in zip(parts, written, strict=True))
    if len(paths) == 1:
        scalars = [one for one in texts_at(fields, paths[0]) if one not in (None, "") and not isinstance(one, dict)]
        known = [("true" if one else "false") if isinstance(one, bool) else str(one) for one in scalars]
        assert set(known) == set(rendered)


@given(st.text(max_size=20))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    """And renders without a place to what it says."""
    try:
        template = Template(text)
    except ValueError:
        return
    if not template.paths:
        assert [text.replace("{{", "{").replace("}}", "}")] == template.render({})


def test_more_than_anybody_wants_is_refused() -> None:
    """Before it is made."""
    many = json.loads(json.dumps({"a": list(range(1000)), "b": list(range(1000))}))
    with pytest.raises(TooManyTextsError):
        Template("{a}-{b}").render(many)
    with pytest.raises(TooManyTextsError):
        Template("{a}").render({"a": list(range(MOST_TEXTS + 1))})
