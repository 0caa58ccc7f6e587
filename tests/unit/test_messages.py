"""All messages of the package, each of them read by a person: ``python -m tests.messages`` writes the page."""

from __future__ import annotations

import re

import pytest

from tests.messages import PAGE, rendered

PAGE_NOW = rendered()


def test_messages_are_worded_as_agreed() -> None:
    assert PAGE.read_text(encoding="utf-8") == PAGE_NOW, "python -m tests.messages, and read what changed"


@pytest.mark.parametrize(
    "words",
    [r"(?<!there) is no ", r"\bmend", r"stands? in\b", r"without a word", r"\bplease (?!report)", r"otherwise than"],
)
def test_messages_are_in_the_readers_words(words: str) -> None:
    assert [line for line in PAGE_NOW.splitlines() if re.search(words, line)] == []


def test_every_message_has_a_fix() -> None:
    lines = [line for line in PAGE_NOW.splitlines() if line and not line.startswith(("#", " "))]
    assert [line for line in lines if "|" not in line and "{*" not in line and not line.endswith(":")] == []
