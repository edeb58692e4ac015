"""pip.conf: what we write is what pip reads, and everything else stays byte for byte."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.pip_conf import FORMS, difference, point, read_as_pip
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import GarProviderError, InvalidInputError, InvalidPipConfError

REPOSITORY = RepositoryName.parse("projects/acme-packages/locations/europe-west1/repositories/python")
URL = "https://europe-west1-python.pkg.dev/acme-packages/python/simple/"
OLD = "https://old.example/simple/"


@pytest.mark.parametrize(
    ("before", "form", "after"),
    [
        ("", "index", f"[global]\nindex-url = {URL}\n"),
        ("", "extra_index", f"[global]\nextra-index-url = {URL}\n"),
        ("", "absent", ""),
        ("# mine\n[global]\ntimeout = 3", "index", f"# mine\n[global]\ntimeout = 3\nindex-url = {URL}\n"),
        # The name and the delimiter stay as they are written; so does a missing final newline.
        (f"[global]\nINDEX_URL:{OLD}", "index", f"[global]\nINDEX_URL: {URL}"),
        (f"[global]\r\nindex-url = {OLD}\r\n; c\r\n", "index", f"[global]\r\nindex-url = {URL}\r\n; c\r\n"),
        # [install] overrides [global] in pip: it is changed as well.
        (
            f"[install]\nindex-url = {OLD}\n",
            "index",
            f"[install]\nindex-url = {URL}\n\n[global]\nindex-url = {URL}\n",
        ),
        # Indented options: a new one is as deep, or it would swallow or be swallowed.
        ("[global]\n    timeout = 3\n", "index", f"[global]\n    timeout = 3\n    index-url = {URL}\n"),
        # A list keeps its lines and comments.
        (
            f"[global]\nextra-index-url =\n    {OLD}\n    # why\n    https://b/\nno-cache-dir = true\n",
            "extra_index",
            f"[global]\nextra-index-url =\n    {OLD}\n    # why\n    https://b/\n    {URL}\nno-cache-dir = true\n",
        ),
        (
            f"[global]\nextra-index-url = {OLD} {URL}\n",
            "absent",
            f"[global]\nextra-index-url = {OLD}\n",
        ),
        (f"[global]\nextra-index-url = {URL}\ntimeout = 1\n", "absent", "[global]\ntimeout = 1\n"),
        # One form replaces the other.
        (f"[global]\nextra-index-url = {URL}\n", "index", f"[global]\nindex-url = {URL}\n"),
        (f"[global]\nindex-url = {URL}\n", "extra_index", f"[global]\nextra-index-url = {URL}\n"),
        # The old form with a key is replaced by the keyless one.
        (
            "[global]\nindex-url = https://_json_key_base64:c2VjcmV0@" + URL.removeprefix("https://") + "\n",
            "index",
            f"[global]\nindex-url = {URL}\n",
        ),
        # A percent sign is only a character.
        ("[global]\nproxy = http://a%40b@p\n", "index", f"[global]\nproxy = http://a%40b@p\nindex-url = {URL}\n"),
    ],
)
def test_point(before: str, form: str, after: str) -> None:
    """Only what has to change changes; a second run changes nothing."""
    assert point(before, REPOSITORY, form) == after
    assert point(after, REPOSITORY, form) == after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index-url = x", "File contains no section headers"),
        ("[global]\nfoo\n", "line  2"),
        ("[global]\na = 1\na = 2\n", "option 'a' in section 'global' already exists"),
        ("[global]\n[global]\n", "section 'global' already exists"),
        ("\ufeff[global]\n", "File contains no section headers"),
        ("[global]\nhttps://me:secret@host/\n= x", "pip cannot read"),
    ],
)
def test_a_file_that_pip_cannot_read(text: str, message: str) -> None:
    """It is an error that shows the line, without credentials; pip refuses the same file."""
    with pytest.raises(InvalidPipConfError) as caught:
        point(text, REPOSITORY, "index")
    assert message in str(caught.value)
    assert "it was not touched" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_bad_form_and_encoding() -> None:
    """Another word, or bytes that are no text."""
    with pytest.raises(InvalidInputError, match="form is one of index, extra_index, absent"):
        point("", REPOSITORY, "extra-index")
    with pytest.raises(InvalidPipConfError, match="not UTF-8 text"):
        pip_conf.decode(b"[global]\nx = \xff\n")


def test_difference_is_redacted() -> None:
    """The diff shows what changed and no credentials."""
    before = "[global]\nindex-url = https://user:secret@host/simple/\n"
    shown = difference(before, point(before, REPOSITORY, "index"))
    assert "-index-url = https://****@host/simple/" in shown
    assert f"+index-url = {URL}" in shown
    assert "secret" not in shown
    assert pip_conf.credentialed_urls(before) == ["https://****@host/simple/"]


OPTION = st.sampled_from(
    [
        "timeout = 3",
        "no_cache_dir: true",
        f"index-url = {OLD}",
        f"index_url={URL}",
        f"extra-index-url = {OLD}",
        f"extra-index-url =\n    {OLD}\n    # c\n    {URL}",
        f"extra-index-url = {OLD}\n\n    {URL}",
        "trusted-host =\n  a\n  b",
        "# index-url = commented",
        "; also",
        "",
        "proxy = http://u%20x:p@h",
    ]
)
SECTION = st.tuples(
    st.sampled_from(["global", "install", "list", "DEFAULT"]), st.lists(OPTION, max_size=5), st.sampled_from(["", "  "])
)
FILES = st.builds(
    lambda sections, newline, final: (
        newline.join(
            line
            for name, options, indent in sections
            for line in [f"[{name}]", *(indent + part for option in options for part in option.split("\n"))]
        )
        + final
    ),
    st.lists(SECTION, max_size=3),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\n"]),
)


@given(FILES, st.sampled_from(FORMS))
def test_generated_files(text: str, form: str) -> None:
    """Whatever the file: all that is not ours stays, a second run changes nothing, bad files are typed errors."""
    try:
        before = read_as_pip(text)
    except InvalidPipConfError:
        with pytest.raises(InvalidPipConfError):
            point(text, REPOSITORY, form)
        return
    try:
        result = point(text, REPOSITORY, form)
    except GarProviderError:
        assert "[DEFAULT]" in text  # the one thing that is refused: our options inherited from [DEFAULT]
        return
    after = read_as_pip(result)
    ours = {"index-url", "extra-index-url"}
    assert {k: v for k, v in before.items() if k[1] not in ours} == {k: v for k, v in after.items() if k[1] not in ours}
    assert point(result, REPOSITORY, form) == result
    for line in text.splitlines():
        if line.strip()[:1] in ("#", ";"):
            assert line in result.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_pip_reads_what_we_write(tmp_path: Path, form: str) -> None:
    """The oracle is pip itself: `pip config list` on the file that was written."""
    text = f"[install]\nindex-url = {OLD}\n[global]\nextra-index-url =\n  {OLD}\n"
    path = tmp_path / "pip.conf"
    path.write_text(point(text, REPOSITORY, form))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={**kept, "PIP_CONFIG_FILE": str(path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    read = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert ("install.index-url" in read and URL in read["install.index-url"]) is (form == "index")
    assert (URL in read["global.extra-index-url"]) is (form == "extra_index")


def test_configparser_is_what_pip_uses() -> None:
    """Our reading relies on RawConfigParser, as pip's configuration module does."""
    source = Path(sys.modules["pip"].__file__ if "pip" in sys.modules else __import__("pip").__file__ or "")
    text = (source.parent / "_internal" / "configuration.py").read_text()
    assert "RawConfigParser = configparser.RawConfigParser" in text
    assert configparser.RawConfigParser
