"""What a watcher has still to be told: nothing is lost, and nothing grows without bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.mailbox import Mailbox, News, NewsKind

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = st.text("ab:", min_size=1, max_size=4)
KEPT = {"a", "b", "a:b", "b:a", "ab"}
STEPS: st.SearchStrategy[tuple[str, list[str]]] = st.one_of(
    st.tuples(st.just("keys"), st.lists(KEYS, max_size=4)),
    st.tuples(st.just("prefix"), KEYS.map(lambda key: [f"{key}:"])),
    st.tuples(st.sampled_from(["all", "reset", "ready", "beat", "take"]), st.just([])),
)


def kinds(mailbox: Mailbox) -> list[NewsKind]:
    """Return the kinds of what is told."""
    return [news.kind for news in mailbox.take()]


class Application:
    """One that keeps entries in its memory, and does as it is told."""

    def __init__(self) -> None:
        self.memory: set[str] = set()
        self.is_ready = False

    def hear(self, news: News) -> None:
        """Do as told."""
        if news.kind in {NewsKind.RESET, NewsKind.ALL}:
            self.memory.clear()
        if news.kind in {NewsKind.RESET, NewsKind.READY}:
            self.is_ready = news.kind is NewsKind.READY
        gone = [key for key in self.memory if news.kind is NewsKind.PREFIX and key.startswith(news.prefix)]
        self.memory.difference_update(news.keys, gone)


@given(steps=st.lists(STEPS, max_size=40), most=st.integers(1, 6))
def test_whoever_does_as_told_keeps_nothing_that_has_changed(steps: list[tuple[str, list[str]]], most: int) -> None:
    """Whatever comes in whatever order, and however seldom it is read: an application's memory holds no changed key."""
    mailbox, application = Mailbox((), most), Application()
    changed: set[str] = set()
    puts: dict[str, Callable[[list[str], int], None]] = {
        "ready": lambda _, now: mailbox.put_ready(now),
        "reset": lambda _, __: mailbox.put_reset(),
        "beat": lambda _, now: mailbox.put_beat(now),
        "all": lambda _, __: mailbox.put_all(),
        "keys": lambda values, _: mailbox.put_keys(values),
        "prefix": lambda values, _: mailbox.put_prefix(values[0]),
    }
    for now, (what, values) in enumerate(steps, 1):
        if what != "take":
            puts[what](values, now)
            everything = what == "all"
            begin = tuple(values) if what == "prefix" else ()
            changed.update(key for key in KEPT if everything or key in values or key.startswith(begin))
            continue
        for news in mailbox.take():
            application.hear(news)
        if application.is_ready:
            assert set() == changed & application.memory
            application.memory.update(KEPT)
        changed.clear()


def test_nothing_is_told_before_it_is_ready() -> None:
    """There is nothing yet that could be dropped."""
    mailbox = Mailbox((), 10)
    mailbox.put_keys(["a"])
    mailbox.put_prefix("a:")
    mailbox.put_all()
    mailbox.put_reset()
    mailbox.put_beat(1)
    assert mailbox.is_empty


def test_a_key_that_changes_often_is_told_once() -> None:
    """The mailbox holds names and no history."""
    mailbox = Mailbox((), 2)
    mailbox.put_ready(1)
    mailbox.take()
    for _ in range(10):
        mailbox.put_keys(["a", "b"])
    assert ([News(NewsKind.KEYS, keys=("a", "b"))], 0) == (mailbox.take(), mailbox.overflows)


def test_what_does_not_fit_is_a_reset() -> None:
    """And is counted."""
    mailbox = Mailbox((), 2)
    mailbox.put_ready(5)
    mailbox.take()
    mailbox.put_keys(["a", "b", "c"])
    assert ([NewsKind.RESET, NewsKind.READY], 1) == (kinds(mailbox), mailbox.overflows)


def test_a_beat_comes_after_what_came_before_it() -> None:
    """Its time says that all of that has been told."""
    mailbox = Mailbox((), 10)
    mailbox.put_ready(1)
    mailbox.put_beat(2)
    mailbox.put_keys(["a"])
    mailbox.put_beat(3)
    assert [NewsKind.KEYS, NewsKind.READY, NewsKind.BEAT] == kinds(mailbox)


def test_a_reset_forgets_the_beat() -> None:
    """What was told before it counts no more."""
    mailbox = Mailbox((), 10)
    mailbox.put_ready(1)
    mailbox.put_beat(2)
    mailbox.put_reset()
    assert [NewsKind.RESET] == kinds(mailbox)
