"""Tables of Markdown, as tests read them."""

from __future__ import annotations

import re


def squeezed(text: str) -> str:
    """Without the spaces that bring the columns into line."""
    return re.sub(" +", " ", text)
