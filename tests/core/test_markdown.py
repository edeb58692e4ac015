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
    """A head, a rule, a line for each row."""
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_only_plain_https_links_are_made() -> None:
    """A URL that could end the link early, or run something, stays text."""
    assert (
        link("log", "https://console.cloud.google.com/x?project=p")
        == "[log](https://console.cloud.google.com/x?project=p)"
    )
    assert link("log", "javascript:alert(1)") == "log"
    assert link("log", "https://x/)[y](z") == "log"
    assert link("log", None) == "log"
