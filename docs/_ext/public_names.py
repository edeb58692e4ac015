"""Two words for the API reference: what a package exports, and our docstrings in the words of Sphinx.

`.. public-names:: airflow_gar_provider.operators` documents every name of that module's `__all__`, so that a new one
cannot be forgotten. Docstrings are written to be read in an editor: fields may be followed by a sentence such as
"Raises X.", and errors are named without markup. Here the former becomes a paragraph, and the latter become links.
"""

from __future__ import annotations

import re
from importlib import import_module
from inspect import isclass
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.parsers.rst.states import RSTState
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from airflow_gar_provider import errors

_FIELD = re.compile(r":[a-z]+[^:]*:( |$)")
_ERROR = re.compile(r"(?<![`\w.])([A-Z]\w+Error)(?![`\w])")
_OURS = {name for name, value in vars(errors).items() if isclass(value) and issubclass(value, Exception)}


class PublicNames(SphinxDirective):
    """What a module exports, each as its own entry."""

    required_arguments = 1
    option_spec: ClassVar = {"members": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Let autodoc write each entry."""
        module = import_module(self.arguments[0])
        lines: list[str] = []
        for name in module.__all__:
            value = getattr(module, name)
            kind = "autoclass" if isclass(value) else "autofunction"
            members = ["   :members:"] if kind == "autoclass" and "members" in self.options else []
            lines += [f".. {kind}:: {module.__name__}.{name}", *members, ""]
        section = nodes.section()
        section.document = self.state.document
        assert isinstance(self.state, RSTState)
        self.state.nested_parse(StringList(lines, source=module.__name__), self.content_offset, section)
        return section.children


def rewrite(_app: Sphinx, _what: str, _name: str, value: Any, _options: Any, lines: list[str]) -> None:
    """Our docstrings in the words of Sphinx."""
    found = list(lines)
    lines.clear()
    in_fields = False
    for text in found:
        line, starts = text, bool(_FIELD.match(text))
        if in_fields and line and not starts and not line.startswith(" "):
            lines.append("")
            in_fields = False
        in_fields = in_fields or starts
        if isclass(value):  # an operator's docstring tells what `execute` returns; making one returns nothing
            line = line.replace(":return:", ":Result:", 1)
        lines.append(_ERROR.sub(_link, line) if "Raises" in line else line)
    fields = getattr(value, "template_fields", ())
    if isclass(value) and fields:
        lines += ["", f"Template fields: {', '.join(f'`{field}`' for field in fields)}.", ""]


def _link(match: re.Match[str]) -> str:
    name = match.group(1)
    return f":exc:`~airflow_gar_provider.errors.{name}`" if name in _OURS else f"`{name}`"


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", rewrite)
    return {"parallel_read_safe": True}
