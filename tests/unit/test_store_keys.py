"""Keys: which slot they hash to, and that no two things share one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from sidecar.errors import InvalidArgumentError, Reason
from sidecar.store.keys import HOLDS_SUFFIX, KeySpace, behind_name, behind_partition, check_name, hash_tag, limit_suffix

NAMES = st.text(min_size=1, max_size=40).map(str.encode) | st.text("{}:a", min_size=1, max_size=8).map(str.encode)
LABELS = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
KEYS = KeySpace("test")


class TestSlots:
    """What one script touches lies in one slot."""

    @given(LABELS, NAMES, st.text(max_size=20))
    def test_an_entry_and_its_idempotency_record_share_a_slot(self, cache: str, name: bytes, key: str) -> None:
        """Whatever braces the caller's key holds."""
        assert key_slot(KEYS.entry(cache, name)) == key_slot(KEYS.idempotency(cache, name, key))

    @given(NAMES, st.text(max_size=20))
    def test_a_raw_key_and_its_record_share_a_slot_or_there_is_none(self, raw: bytes, key: str) -> None:
        """The only raw keys without a record are those with a `}` and no tag."""
        record = KEYS.raw_idempotency(raw, key)
        if record is None:
            assert b"}" in hash_tag(raw)
        else:
            assert key_slot(raw) == key_slot(record)

    @given(LABELS, NAMES, LABELS)
    def test_the_limits_of_a_policy_share_a_slot(self, policy: str, name: bytes, limit: str) -> None:
        """So that one script can charge them all, beside what is held."""
        key = KEYS.limit(b"m", policy, name)
        assert {key_slot(key)} == {key_slot(key + limit_suffix(b"t", limit)), key_slot(key + HOLDS_SUFFIX)}

    @given(LABELS, NAMES, st.text(max_size=20))
    def test_what_a_write_behind_cache_has_of_a_name_shares_a_slot(self, cache: str, name: bytes, key: str) -> None:
        """Entry, load and record with the changes of their partition; the name is found in the entry's key again."""
        own = KEYS.behind(cache)[behind_partition(name)]
        entry = own.entry_head + name
        keys = {entry, own.load_head + name, own.record(name, key), *own[3:]}
        assert (1, 9) == (len({key_slot(one) for one in keys}), len(keys))
        assert name == behind_name(entry.removeprefix(KEYS.behind_head(cache)))


class TestUniqueness:
    """Different things have different keys."""

    @given(st.tuples(LABELS, NAMES), st.tuples(LABELS, NAMES))
    def test_two_entries_never_share_a_key(self, one: tuple[str, bytes], other: tuple[str, bytes]) -> None:
        """The cache's name cannot be faked by the caller's."""
        assert (one == other) == (KEYS.entry(*one) == KEYS.entry(*other))

    @given(st.tuples(LABELS, NAMES, st.text(max_size=9)), st.tuples(LABELS, NAMES, st.text(max_size=9)))
    def test_two_records_never_share_a_key(self, one: tuple[str, bytes, str], other: tuple[str, bytes, str]) -> None:
        """Nor does an idempotency key reach into the entry's name."""
        assert (one == other) == (KEYS.idempotency(*one) == KEYS.idempotency(*other))

    @given(st.tuples(LABELS, NAMES, LABELS), st.tuples(LABELS, NAMES, LABELS))
    def test_two_limits_never_share_a_key(self, one: tuple[str, bytes, str], other: tuple[str, bytes, str]) -> None:
        """Nor does the name of one of several reach into the caller's."""
        keys = [KEYS.limit(b"m", policy, name) + limit_suffix(b"t", limit) for policy, name, limit in (one, other)]
        assert (one == other) == (keys[0] == keys[1])

    @given(LABELS, NAMES)
    def test_kinds_and_tenants_are_apart(self, label: str, name: bytes) -> None:
        """An entry, a limit, a data key and another tenant's entry."""
        keys = [
            KEYS.entry(label, name),
            KEYS.hot_processes(label),
            KEYS.hot(label, b"1f"),
            KEYS.limit(b"m", label, name),
            KEYS.limit(b"t", label, name),
            KEYS.limit(b"m", label, name) + limit_suffix(b"t", "a"),
            KEYS.limit(b"m", label, name) + limit_suffix(b"t", "b"),
            KEYS.limit(b"m", label, name) + limit_suffix(b"w", "b"),
            KEYS.limit(b"m", label, name) + HOLDS_SUFFIX,
            KEYS.limit(b"t", label, name) + HOLDS_SUFFIX,
            KEYS.data_key(label, "1"),
            KEYS.idempotency(label, name, ""),
            KeySpace("other").entry(label, name),
        ]
        assert len(keys) == len(set(keys))


class TestNames:
    """What a caller may name."""

    def test_bytes_are_counted_and_not_characters(self) -> None:
        """Four euro signs are twelve bytes."""
        assert check_name("€€€€", 12) == "€€€€".encode()
        with pytest.raises(InvalidArgumentError) as caught:
            check_name("€€€€", 11)
        expected = (Reason.KEY_TOO_LONG, {"max_bytes": "11", "actual_bytes": "12"})
        assert expected == (caught.value.reason, dict(caught.value.metadata))

    def test_an_empty_name_is_refused(self) -> None:
        """With its field."""
        with pytest.raises(InvalidArgumentError) as caught:
            check_name("", 512, "keys[3]")
        assert (Reason.KEY_EMPTY, "keys[3]") == (caught.value.reason, caught.value.field)
