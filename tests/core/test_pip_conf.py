"""pip.conf: what we write is what pip reads, and everything else stays byte for byte."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.pip_conf import cautions, difference, in_use, point, with_repository
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import InvalidInputError, InvalidPipConfError
from tests.keys import make_key

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
        (f"[global]\nINDEX_URL:{OLD}", "index", f"[global]\nINDEX_URL:{URL}"),
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
        # The key of another account, too, and among extra indexes in its own place.
        (
            "[global]\nextra-index-url=https://me:pw@" + URL.removeprefix("https://") + f" {OLD}\n",
            "extra_index",
            f"[global]\nextra-index-url={URL} {OLD}\n",
        ),
        # A value right behind its delimiter.
        (f"[global]\nextra-index-url={URL} {OLD}\n", "absent", f"[global]\nextra-index-url={OLD}\n"),
        (
            f"[global]\nextra-index-url={URL}\n    {OLD}\n",
            "index",
            f"[global]\nextra-index-url=\n    {OLD}\nindex-url = {URL}\n",
        ),
        # What hides every index is switched off, and only that line.
        (
            "[install]\nno_index = Yes  \n# why\n",
            "index",
            f"[install]\nno_index = false\n# why\n\n[global]\nindex-url = {URL}\n",
        ),
        ("[install]\nno-index = true\n", "absent", "[install]\nno-index = true\n"),
        # pip's old name of the index; the one that stands last would win.
        (
            f"[global]\nindex-url = {URL}\npypi-url = {OLD}\n",
            "index",
            f"[global]\nindex-url = {URL}\npypi-url = {URL}\n",
        ),
        # What every section inherits.
        (
            f"[DEFAULT]\nindex-url = {OLD}\n[install]\nx = 1\n",
            "index",
            f"[DEFAULT]\nindex-url = {URL}\n[install]\nx = 1\n\n[global]\nindex-url = {URL}\n",
        ),
        # An empty value overrides nothing, and stays; in [global] it is the place to write to.
        (
            f"[install]\nextra-index-url =\n[global]\nextra-index-url = {OLD}\n",
            "extra_index",
            f"[install]\nextra-index-url =\n[global]\nextra-index-url = {OLD}\n    {URL}\n",
        ),
        ("[global]\nindex-url =\n", "index", f"[global]\nindex-url = {URL}\n"),
        # An indented header below must not become the continuation of what is added.
        ("[global]\n  [install]\n", "index", f"[global]\n  index-url = {URL}\n  [install]\n"),
        # Other commands' sections are not ours.
        (
            f"[download]\nindex-url = {OLD}\n[global]\n",
            "index",
            f"[download]\nindex-url = {OLD}\n[global]\nindex-url = {URL}\n",
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
        ("# c\nindex-url = x", "line 2 (index-url = x) stands above the first [section]"),
        ("[global]\nfoo\n= x\n", "line 2 (foo) is no option, section or comment; line 3 (= x) is no option"),
        ("[global]\na = 1\na = 2\n", "line 3 (a = 2) sets a a second time in [global]"),
        ("[global]\nindex_url = 1\n--Index-URL = 2\n", "line 3 (--Index-URL = 2) sets index-url a second time"),
        ("[global]\n\n[global]\n", "line 3 ([global]) begins the section [global] a second time"),
        ("\ufeff[global]\n", "line 1 begins with a byte order mark (BOM)"),
        ("[global]\nhttps://me:secret@host/x\n= x", "pip cannot read this pip.conf: line 3 (= x)"),
        ("[global]\nhttps//me:secret://a:secret@host\nx", "line 3 (x) is no option"),
        ("[global]\nextra\rx = 1", "line 2 (extra) is no option"),
        ("[global]\n" + "c2VjcmV0" * 20 + "\n", "line 2 (****) is no option"),
    ],
)
@pytest.mark.parametrize("form", pip_conf.FORMS)
def test_a_file_that_pip_cannot_read(text: str, message: str, form: str) -> None:
    """It is an error that shows each line at fault, without credentials."""
    with pytest.raises(InvalidPipConfError) as caught:
        point(text, REPOSITORY, form)
    assert message in str(caught.value)
    assert "it was not touched" in str(caught.value)
    for secret in ("secret@", "c2VjcmV0"):
        assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


MORE = RepositoryName.parse("projects/acme-packages/locations/europe-west1/repositories/more")


def test_several_repositories() -> None:
    """`index`: the first is the index, the others stand beside it; the other forms name, or no longer name, all."""
    both = point("", [REPOSITORY, MORE], "index")
    assert both == f"[global]\nindex-url = {URL}\nextra-index-url = {MORE.index_url}\n"
    assert point(both, [REPOSITORY, MORE], "index") == both
    beside = point(both, [REPOSITORY, MORE], "extra_index")
    assert beside == f"[global]\nextra-index-url = {MORE.index_url}\n    {URL}\n"
    assert point(beside, [REPOSITORY, MORE], "absent") == "[global]\n"
    assert point(both, MORE, "absent") == f"[global]\nindex-url = {URL}\n"
    with pytest.raises(InvalidInputError, match="no repository is named"):
        point("", [], "index")


def test_with_a_key_and_back() -> None:
    """A key stands in the URL of each repository; without one the URLs are keyless again, the rest as it was."""
    key, other = make_key(), make_key()
    text = f"# ours\r\n[global]\r\nextra-index-url = {OLD}\r\n"
    first = point(text, [REPOSITORY, MORE], "index", key)
    for name in (REPOSITORY, MORE):
        assert f"https://_json_key_base64:{key.password}@{name.index_url.removeprefix('https://')}" in first
    assert pip_conf.keys_in(first) == (key,)
    rotated = point(first, [REPOSITORY, MORE], "index", other)
    assert rotated == first.replace(key.password, other.password)
    shown = difference(first, rotated)
    assert shown.count("****") == 4
    assert not [secret for one in (key, other) for secret in one.secrets if secret in shown]
    keyless = point(rotated, [REPOSITORY, MORE], "index")
    assert keyless == point(text, [REPOSITORY, MORE], "index")
    assert pip_conf.keys_in(keyless) == ()
    assert point(rotated, [REPOSITORY, MORE], "absent") == text


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        (f"[global]\nindex-url = {URL}\n", "index", []),
        (f"[global]\nextra-index-url = {URL}\n", "extra_index", ["dependency confusion"]),
        ("[install]\nextra-index-url = https://me:pw@h/ https://i/\n", "index", ["https://****@h/", "confusion"]),
        ("[global]\ntimeout = 1\n", "absent", ["no index-url is left: pip asks the public index"]),
        (f"[global]\nindex-url = {URL}\nno-input = true\n", "index", ["no-input keeps pip from asking keyring"]),
        (f"[global]\nindex-url = {URL}\nno-input = true\nkeyring-provider = import\n", "index", []),
        (
            f"[global]\nkeyring-provider = disabled\nindex-url = {URL}\n",
            "index",
            ["keyring-provider = disabled keeps pip from"],
        ),
        (
            f"[global]\nindex-url = {URL}\n[download]\nindex-url = {OLD}\n[list]\nformat = x\n",
            "index",
            ["[download] name indexes for other commands of pip"],
        ),
    ],
)
def test_cautions(text: str, form: str, words: list[str]) -> None:
    """What people should know of the file is said, and no credentials."""
    told = cautions(text, form)
    assert len(told) == len(words), told
    for sentence, word in zip(told, words, strict=True):
        assert word in sentence
        assert "pw" not in sentence


def test_bad_form_and_encoding() -> None:
    """Another word, or bytes that are no text."""
    with pytest.raises(InvalidInputError, match="form is one of index, extra_index, absent"):
        point("", REPOSITORY, "extra-index")
    with pytest.raises(InvalidPipConfError, match="not UTF-8 text: line 2, byte 13: "):
        pip_conf.decode(b"[global]\nx = \xff\n")


def test_difference_is_redacted() -> None:
    """The diff shows what changed and no credentials."""
    before = "[global]\nindex-url = https://user:secret@host/simple/\n"
    shown = difference(before, point(before, REPOSITORY, "index"))
    assert "-index-url = https://****@host/simple/" in shown
    assert f"+index-url = {URL}" in shown
    assert "secret" not in shown
    assert pip_conf.credentialed_urls(before) == ["https://****@host/simple/"]


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("", False),
        (f"[global]\nindex-url = {URL}\n", True),
        (f"[global]\nextra-index-url = {URL}\n", True),
        (f"[global]\nextra-index-url =\n    https://other.example/simple\n    {URL}\n", True),
        (f"[global]\nindex-url = {URL.replace('https://', 'https://_json_key_base64:e30=@')}\n", True),
        (f"[global]\nindex-url = {URL}\nno-index = true\n", False),
        (f"[global]\nindex-url = {URL}\n[install]\nindex-url = https://other.example/simple\n", False),
        (f"[download]\nindex-url = {URL}\n", False),
    ],
)
def test_a_file_that_uses_the_repository_stays_as_it_is(text: str, used: bool) -> None:
    """Whoever put a key or an extra index there keeps it; a file that does not use the repository is pointed at it."""
    assert in_use(text, REPOSITORY) is used
    after = with_repository(text, REPOSITORY)
    assert (after == text) is used
    assert in_use(after, REPOSITORY)
