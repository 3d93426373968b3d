"""SQL with named parameters: what is one, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.named_parameters import take_apart

KNOWN = ("key", "value")


@pytest.mark.parametrize(
    ("sql", "rendered"),
    [
        ("INSERT INTO t VALUES (:key, :value, :key)", "INSERT INTO t VALUES ($1, $2, $1)"),
        ("SELECT :key::text, x::key", "SELECT $1::text, x::key"),
        ("SELECT ':key', 'it''s :key', :key", "SELECT ':key', 'it''s :key', $1"),
        (r"SELECT E'\':key', e'\\', :key", r"SELECT E'\':key', e'\\', $1"),
        (r"SELECT name'\', :key", r"SELECT name'\', $1"),
        (r"SELECT U&'\', :key", r"SELECT U&'\', $1"),
        ("SELECT 'a' -- it's\n ':key', :key", "SELECT 'a' -- it's\n ':key', $1"),
        ('SELECT ":key", "a"":key", :key', 'SELECT ":key", "a"":key", $1'),
        ("SELECT $$:key$$, $a$ :key $$ $b$ $a$, :key", "SELECT $$:key$$, $a$ :key $$ $b$ $a$, $1"),
        ("SELECT a$b$, :key, c$b$", "SELECT a$b$, $1, c$b$"),
        ("SELECT 1 -- :key\n, :key", "SELECT 1 -- :key\n, $1"),
        ("SELECT 1 /* :key /* :key */ :key */, :key", "SELECT 1 /* :key /* :key */ :key */, $1"),
        ("SELECT a - :key, b / :value", "SELECT a - $1, b / $2"),
        ("SELECT a[1: 2], f(x := :key)", "SELECT a[1: 2], f(x := $1)"),
        ("SELECT ä :key, 'a':key", "SELECT ä $1, 'a'$1"),
        ("SELECT a[1: :key]", "SELECT a[1: $1]"),
    ],
)
def test_parameters_are_found_where_they_are(sql: str, rendered: str) -> None:
    """Strings, quoted names, comments, dollar quotes and casts hold none; all else stays as it is."""
    assert rendered == take_apart(sql, KNOWN).render()


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT :kee", "has no parameter `:kee`"),
        ("SELECT a[1:n]", "in a slice of an array put a space after the colon"),
        ("SELECT a[ä:key]", "`:key` stands right behind a name or number"),
        ("SELECT a[1:key]", "in a slice of an array put a space after the colon"),
        ("SELECT :key$$ $$", "has no parameter `:key$$`"),
        ("SELECT $1", "parameters have names: write :key, :value instead of $1"),
        ("SELECT 'a", "a string does not end"),
        ("SELECT E'a''b", "a string does not end"),
        ("SELECT E'a\\'", "a string does not end"),
        ('SELECT "a', "a quoted name does not end"),
        ("SELECT $a$ $b$", "a text within $a$ does not end"),
        ("SELECT /* /* */", "a comment does not end"),
    ],
)
def test_what_is_wrong_is_said(sql: str, problem: str) -> None:
    """A name that is not known, a number, and what does not end."""
    with pytest.raises(ValueError, match=r".") as caught:
        take_apart(sql, KNOWN)
    assert problem in str(caught.value)


def test_parameters_are_numbered_as_they_first_stand() -> None:
    """Each has one number."""
    assert ("value", "key") == take_apart("SELECT :value, :key, :value", KNOWN).parameters


def escaped(text: str) -> str:
    """Return text as it stands in an escape string."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


# What stands for itself, whatever is next to it, and what is a parameter.
FRAGMENTS = st.one_of(
    st.sampled_from([":key", ":value"]),
    st.text(st.characters(exclude_characters="'\x00", exclude_categories=["Cs"]), max_size=6).map(lambda t: f" '{t}' "),
    st.text(st.sampled_from(":key'\\n\""), max_size=6).map(lambda t: f" E'{escaped(t)}' "),
    st.text(st.sampled_from(":key'$\n"), max_size=6).map(lambda t: f' "{t}" '),
    st.text(st.sampled_from(":key'\" \n"), max_size=6).map(lambda t: f" $q$ {t} $q$ "),
    st.text(st.sampled_from(":key'\"$ "), max_size=6).map(lambda t: f" --{t}\n "),
    st.text(st.sampled_from(":key'\"$ \n-"), max_size=6).map(lambda t: f" /* /*{t}*/ {t}*/ "),
    st.sampled_from([" ::key ", " a$key$ ", " , ", " - ", " / ", " := ", " [1: 2] ", " ( ", ") "]),
)  # fmt: skip


@given(st.lists(FRAGMENTS, max_size=12))
def test_only_parameters_change(fragments: list[str]) -> None:
    """Of any mixture the parameters alone are replaced, in their order, and the rest is the same to the character."""
    names = [fragment[1:] for fragment in fragments if fragment in {":key", ":value"}]
    # A parameter ends where the next fragment begins: they are kept apart as an operator would.
    sql = " ".join(fragments)
    statement = take_apart(sql, KNOWN)
    assert tuple(names) == statement.names
    assert sql == statement.render(lambda name, _number: f":{name}")


@given(st.text(max_size=60))
def test_any_text_is_taken_apart_or_refused(sql: str) -> None:
    """Nothing else happens, and nothing is lost."""
    try:
        statement = take_apart(sql, KNOWN)
    except ValueError:
        return
    assert sql == statement.render(lambda name, _number: f":{name}")
