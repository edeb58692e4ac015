"""The repository's own pages among the guides: README.md and the others lie above the folder that Sphinx reads.

They are copied to `docs/_pages` (which git ignores) before every build, with their links as they are from there; and
the guides' links to them, which are written for GitHub, are turned to the copies.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

NAMES = ("README", "SECURITY", "CONTRIBUTING", "CHANGELOG")
_TO_ROOT = re.compile(rf"\]\((?:\.\./)+({'|'.join(NAMES)})\.md(#[^)]*)?\)")
_LINK = re.compile(r"\]\((?!\w+:|#|/)([^)\s]+)\)")


def copy_pages(app: Sphinx) -> None:
    """Write each page where Sphinx finds it; one that has not changed is left alone."""
    root, folder = Path(app.srcdir).parent, Path(app.srcdir) / "_pages"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        text = _LINK.sub(_from_below, (root / f"{name}.md").read_text(encoding="utf-8"))
        page = folder / f"{name}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _from_below(match: re.Match[str]) -> str:
    """A link of a page at the top, as it is from `docs/_pages`."""
    target = match.group(1)
    if target.removesuffix(".md").partition("#")[0].removesuffix(".md") in NAMES:
        return f"]({target})"
    inside = target.removeprefix("docs/")
    return f"](../{inside})" if inside != target else f"](../../{target})"


def turn_links(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Links of a guide to a page at the top lead to its copy."""
    source[0] = _TO_ROOT.sub(lambda match: f"](/_pages/{match.group(1)}.md{match.group(2) or ''})", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("builder-inited", copy_pages)
    app.connect("source-read", turn_links)
    # The lexer that Pygments has for HCL does not know expressions, and a warning is an error.
    app.add_lexer("hcl", TextLexer)
    return {"parallel_read_safe": True}
