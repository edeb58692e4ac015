"""Text of others (package metadata, pip's output, names of DAGs) inside our Markdown: shown, never interpreted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+")
"""Control characters, line ends, and marks that would let a text look like another one."""


def code(text: object, *, limit: int = 200) -> str:
    """Foreign text as a code span: no markup, no image, no link in it is alive; cut after `limit` characters.

    A code span is what keeps links dead in Airflow's UI: its Markdown links bare URLs even when they are written with
    entities. Backticks would end the span, and pipes the cell of a table.
    """
    plain = _INVISIBLE.sub(" ", str(text)).replace("`", "'").strip()
    if len(plain) > limit:
        plain = f"{plain[: limit - 1]}…"
    return f"`{plain}`".replace("|", "\\|") if plain else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; its cells are Markdown already (see `code`). A column with nothing in it is left out.

    Columns but the last one are padded: a task's log, which is where a report is read, shows the source as it is.
    """
    lines = [head, *rows]
    columns = list(zip(*lines, strict=True))
    filled = [column for column in columns if len(lines) == 1 or any(column[1:])] or columns
    widths = [*(max(3, *map(len, column)) for column in filled[:-1]), 3]
    padded = [[cell.ljust(width) for cell in column] for column, width in zip(filled, widths, strict=True)]
    shown = [f"| {' | '.join(cells)} |" for cells in zip(*padded, strict=True)]
    return "\n".join([shown[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *shown[1:]])


def link(text: str, url: str | None) -> str:
    """A link to Google's console, with a text of ours; the text alone for any other URL, or without one."""
    if url and re.fullmatch(r"https://console\.cloud\.google\.com/[^\s()<>\[\]`|]*", url):
        return f"[{text}]({url})"
    return text
