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
    """A Markdown table; its cells are Markdown already (see `code`)."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def link(text: str, url: str | None) -> str:
    """A link that we make ourselves; plain text without a URL. The URL must be https and have no space or bracket."""
    if url and re.fullmatch(r"https://[^\s()<>\[\]`|]+", url):
        return f"[{text}]({url})"
    return text
