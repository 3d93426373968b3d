"""The comments of the .proto files are the API's manual: nothing is left out."""

from __future__ import annotations

import pytest
from support.protos import comments

SYMBOLS = sorted(comments())


def test_there_is_something_to_document() -> None:
    """The walk finds services, methods, messages, fields, oneofs, enums and values."""
    wanted = {
        ("sidecar.v1.CacheService", ""),
        ("sidecar.v1.CacheService", "Get"),
        ("sidecar.v1.GetRequest", "key"),
        ("sidecar.v1.Condition", "kind"),
        ("sidecar.v1.Outcome", "OUTCOME_HIT"),
    }
    assert wanted == wanted & set(SYMBOLS)


@pytest.mark.parametrize(("owner", "part"), SYMBOLS, ids=[".".join(symbol).strip(".") for symbol in SYMBOLS])
def test_a_symbol_is_documented(owner: str, part: str) -> None:
    """Its comment begins with its name and ends a sentence."""
    comment = comments()[owner, part]
    name = part or owner.rpartition(".")[2]
    assert (name, ".") == (comment[: len(name)], comment[-1:])
