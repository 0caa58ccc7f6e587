"""What mistakes are told, each of them read by a person: ``python -m tests.mistakes`` writes the page."""

from __future__ import annotations

import re

from tests.mistakes import PAGE, PYTHON, YAML, rendered


def test_mistakes_are_told_as_agreed() -> None:
    page = rendered()
    assert page == PAGE.read_text(encoding="utf-8"), "python -m tests.mistakes, and look at what changed"
    assert page.count("\n# ") + 1 == len(YAML.strip().splitlines()) + len(PYTHON)


def test_every_mistake_is_told_with_a_fix_and_in_our_own_words() -> None:
    for part in re.split(r"^# ", rendered(), flags=re.MULTILINE)[1:]:
        mistake, message = part.split("\n", maxsplit=1)
        assert "fix: " in message, mistake
        for word in ("Input should", "Value error", "instance of", "pydantic", "Traceback", "mend", "stand"):
            assert word not in message, mistake
        assert not re.search(r"(?<!there) is no ", message), mistake
