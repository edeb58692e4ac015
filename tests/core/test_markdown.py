"""Foreign text in our Markdown is shown, never interpreted."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core.markdown import code, link, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mypythonlib==1.0", "`mypythonlib==1.0`"),
        ("[click](https://evil.example)", "`[click](https://evil.example)`"),
        ("`` `x` ![i](u)", "`'' 'x' ![i](u)`"),
        ("a|b", "`a\\|b`"),
        ("one\ntwo\r\n\tthree", "`one two three`"),
        ("hid\u202eden", "`hid den`"),
        ("", ""),
        (None, "`None`"),
    ],
)
def test_foreign_text_is_a_code_span(text: object, shown: str) -> None:
    """Markup, links and line ends of others are text."""
    assert code(text) == shown


@given(st.text())
def test_no_text_ends_its_span_or_its_row(text: str) -> None:
    """Whatever the text, there is one span in one cell on one line, and it is cut."""
    shown = code(text, limit=20)
    assert len(shown.splitlines()) <= 1
    if shown:
        assert shown.count("`") == 2
        assert shown.startswith("`")
        assert shown.endswith("`")
        assert not re.search(r"(?<!\\)\|", shown)
        assert len(shown.replace("\\|", "|")) <= 22


def test_a_table_has_a_row_for_each() -> None:
    """A head, a rule, a line for each row; in columns, because a log shows it as it is."""
    assert table(["a", "name"], [["1", "2"], ["one and", "yes"]]) == (
        "| a       | name |\n|---------|-----|\n| 1       | 2   |\n| one and | yes |"
    )


def test_a_column_with_nothing_in_it_is_left_out() -> None:
    """It would take the width that the others need; a table without rows keeps its head."""
    assert table(["a", "why"], [["one", ""], ["two", ""]]) == "| a   |\n|-----|\n| one |\n| two |"
    assert table(["a", "why"], []) == "| a   | why |\n|-----|-----|"


def test_only_links_to_the_console_are_made() -> None:
    """A URL that could end the link early, run something, or lead somewhere else stays text."""
    assert (
        link("log", "https://console.cloud.google.com/x?project=p")
        == "[log](https://console.cloud.google.com/x?project=p)"
    )
    assert link("log", "javascript:alert(1)") == "log"
    assert link("log", "https://x/)[y](z") == "log"
    assert link("log", "https://console.cloud.google.com.evil.example/") == "log"
    assert link("log", None) == "log"
