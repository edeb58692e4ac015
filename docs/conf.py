"""The guides and the API reference as pages: `make docs`. Nothing is fetched, and every warning is an error."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
# The reference imports the operators, and so Airflow, which makes its home when it is imported: here, a passing one.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="docs-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

project = "airflow-gar-provider"
author = "the authors of airflow-gar-provider"
extensions = ["myst_parser", "sphinx.ext.autodoc", "public_names", "root_pages"]
exclude_patterns = ["_build", "_ext", "pictures/README.md"]
html_theme = "furo"
html_title = "airflow-gar-provider"
html_show_copyright = False
html_copy_source = False

# GitHub's reading of Markdown: headings are targets, and a link to a file that is no page is a download.
myst_heading_anchors = 4
myst_links_external_new_tab = False

# In our docstrings single backticks mean code, as in Markdown.
default_role = "code"
smartquotes = False  # quotes in our texts are often those of a value
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 90
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True

# Every reference must lead somewhere, except to what is documented elsewhere (Airflow, Google, the standard library):
# nothing is fetched, so there is no inventory of theirs. Of our own, values that are not public are named, too.
nitpicky = True
_PUBLIC = r"(errors|operators|sensors|rollout|retry)\."
nitpick_ignore_regex = [
    (r"py:.*", rf"(?!airflow_gar_provider\.{_PUBLIC}).*"),
]
