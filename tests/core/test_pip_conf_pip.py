"""pip.conf, with pip itself as the judge: what `pip install` would do with the file before and after our edit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pip._internal.commands import create_command
from pip._internal.configuration import Configuration
from pip._internal.exceptions import ConfigurationError

from airflow_gar_provider.core.pip_conf import FORMS, difference, keys_in, point
from airflow_gar_provider.core.pip_conf_text import Document, read_as_pip
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import InvalidPipConfError
from tests.keys import make_key

SAMPLES = sorted((Path(__file__).parents[1] / "samples" / "pip_conf").glob("*.conf"))
REPOSITORY = RepositoryName.parse("projects/acme-packages/locations/europe-west1/repositories/python")
MORE = RepositoryName.parse("projects/acme-packages/locations/us/repositories/more")
URL = REPOSITORY.index_url
OLD = "https://old.example/simple/"
OURS = ("index_url", "extra_index_urls", "no_index")
KEY = make_key()

Pip = Callable[[str], dict[str, Any]]


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pip:
    """What `pip install` takes from a pip.conf: the options of its own command, as its own code reads them.

    A pip.conf of the machine is read as well, as it would be anyway; ours overrides it.
    """
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))

    def options(text: str) -> dict[str, Any]:
        path.write_bytes(text.encode())
        Configuration(isolated=False).load()
        return dict(vars(create_command("install").parser.parse_args([])[0]))

    return options


def judge(pip: Pip, text: str, form: str, *, key: bool = False) -> None:
    """Edit, and compare what pip would do before and after."""
    used = KEY if key else None
    before = pip(text)
    result = point(text, [REPOSITORY, MORE], form, used)
    after = pip(result)
    mine = [f"_json_key_base64:{KEY.password}@" if key else "", REPOSITORY.host, MORE.host]
    index, extra = str(after["index_url"]), list(after["extra_index_urls"])
    urls = [URL.replace("https://", f"https://{mine[0]}"), MORE.index_url.replace("https://", f"https://{mine[0]}")]
    if form == "index":
        assert index == urls[0]
        assert urls[1] in extra
        assert not after["no_index"]
    elif form == "extra_index":
        assert set(urls) <= set(extra)
        assert not after["no_index"]
    else:
        # Only URLs: an indented header swallows its options into the value above, which is no index then.
        assert not [url for url in (index, *extra) if url.startswith("http") and (mine[1] in url or mine[2] in url)]
    foreign = [url for url in before["extra_index_urls"] if mine[1] not in url and mine[2] not in url]
    assert set(foreign) <= set(extra)
    assert {k: v for k, v in before.items() if k not in OURS} == {k: v for k, v in after.items() if k not in OURS}
    assert point(result, [REPOSITORY, MORE], form, used) == result
    stays(text, result)
    assert not [secret for secret in KEY.secrets if secret in difference(text, result)]


def stays(before: str, after: str) -> None:
    """Every comment, every line that is not an index's, and the order of them are as they were."""
    names = ("index-url", "pypi-url", "extra-index-url", "no-index")

    def others(text: str) -> list[str]:
        document = Document(text)
        ours = {n for o in document.options if o.name in names for n in range(o.first, o.end)}
        lines = [line for n, line in enumerate(document.lines) if n not in ours or line.strip()[:1] in ("#", ";")]
        return [line.rstrip("\r\n") for line in lines if line.strip()]

    kept = others(after)
    if "global" not in Document(before).headers and "global" in Document(after).headers:
        kept.reverse()
        kept.remove("[global]")
        kept.reverse()
    assert kept == others(before)
    ends = {line[len(line.rstrip("\r\n")) :] for line in Document(before).lines} - {""}
    if len(ends) == 1:
        assert {line[len(line.rstrip("\r\n")) :] for line in Document(after).lines} - {""} <= ends


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", [False, True], ids=["keyless", "key"])
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_files_as_people_have_them(pip: Pip, path: Path, form: str, key: bool) -> None:
    """Afterwards `pip install` uses the repositories, and all else is as it was; so it is on the way back."""
    text = path.read_bytes().decode()
    judge(pip, text, form, key=key)
    judge(pip, point(text, REPOSITORY, form, KEY if key else None), "absent")


def test_the_key_of_2022_goes(pip: Pip) -> None:
    """A file with a key is keyless after `index`: no credentials are left in it."""
    text = next(path for path in SAMPLES if path.stem == "composer_2022_with_key").read_text()
    assert pip(text)["extra_index_urls"][0].startswith("https://_json_key_base64:")
    assert point(text, REPOSITORY, "index") == f"[global]\nindex-url = {URL}\n"


OPTION = st.sampled_from(
    [
        "cert = /etc/a.pem",
        "client_cert: /etc/b.pem",
        f"index-url = {OLD}",
        f"index_url={URL}",
        f"pypi-url = {OLD}",
        "index-url =",
        f"--index-url : https://me:p%40w@{REPOSITORY.host}/acme-packages/python/simple",
        f"extra-index-url = {OLD}",
        f"extra-index-url={URL} {OLD}",
        f"extra-index-url =\n    {OLD}\n    # c\n    {URL}",
        f"EXTRA_INDEX_URL = {OLD}\n\n    {URL} {URL}",
        f"extra-index-url = https://_json_key_base64:{KEY.password}@{URL.removeprefix('https://')}",
        "extra-index-url =",
        "no-index = true",
        "no_index = 0",
        "trusted-host =\n  a\n  b",
        "# index-url = commented",
        "; also",
        "",
        "proxy = http://u%20x:p@h",
        "broken",
    ]
)
SECTION = st.tuples(
    st.sampled_from(["global", "install", ":env:", "list", "download", "DEFAULT"]),
    st.lists(OPTION, max_size=5, unique=True),
    st.sampled_from(["", "  ", "\t"]),
    st.sampled_from(["", "", " "]),
)
FILES = st.builds(
    lambda sections, newline, final: (
        newline.join(
            line
            for name, options, indent, deep in sections
            for line in [
                f"{deep}[{name}]",
                *(indent + part for option in options for part in option.split("\n")),
            ]
        )
        + final
    ),
    st.lists(SECTION, max_size=4, unique_by=lambda section: section[0]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", "\n"]),
)


def takes_two_spellings(pip: Pip) -> bool:
    """An older pip than the newest reads `index-url` and `index_url` side by side."""
    try:
        pip("[global]\nindex-url = https://a.example/\nindex_url = https://b.example/\n")
    except ConfigurationError:
        return False
    return True


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(FILES, st.sampled_from(FORMS), st.booleans())
def test_generated_files(pip: Pip, text: str, form: str, key: bool) -> None:
    """Whatever the file: pip refuses it and so do we, or afterwards pip does what was wanted and nothing else."""
    try:
        if "\n" in pip(text)["index_url"]:
            reject()  # an index of several lines: no URL, and none of ours
    except ConfigurationError:
        with pytest.raises(InvalidPipConfError, match=r"pip cannot read this pip\.conf: line"):
            point(text, REPOSITORY, form)
        return
    except SystemExit:
        reject()  # a value that is no boolean: the line above goes on in it
    if takes_two_spellings(pip):
        try:
            read_as_pip(text)
        except InvalidPipConfError as error:  # an environment's pip may be a newer one
            assert "a second time in [" in str(error)
            return
    if "DEFAULT" in Document(text).headers and "global" not in Document(text).headers:
        try:
            point(text, [REPOSITORY, MORE], form)
        except InvalidPipConfError as error:
            assert "which pip does not read for want of a [global] section" in str(error)
            return
    judge(pip, text, form, key=key)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.text(alphabet="[]=:#;ab- \t\r\n\u00e9\u2028\x0c\x1c\x85", max_size=40))
def test_we_read_what_pip_reads(pip: Pip, text: str) -> None:
    """Any text at all: the same files are refused, and the lines that we edit by are the ones that pip sees."""
    try:
        pip(text)
    except ConfigurationError:
        with pytest.raises(InvalidPipConfError, match="pip cannot read"):
            read_as_pip(text)
        return
    seen = read_as_pip(text)
    named = {(o.section, o.name) for o in Document(text).options if o.section != "DEFAULT"}
    assert named <= set(seen)
    assert keys_in(text) == ()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sample", ["install_overrides", "no_index_find_links", "artifactory_with_password", "crlf"])
def test_pip_config_list(tmp_path: Path, sample: str, form: str) -> None:
    """The same by pip's own command line: `pip config list` on the file that was written."""
    path = tmp_path / "pip.conf"
    before = next(path for path in SAMPLES if path.stem == sample).read_bytes().decode()
    path.write_bytes(point(before, REPOSITORY, form).encode())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={**kept, "PIP_CONFIG_FILE": str(path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    read = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    listed = {name: value for name, value in read.items() if URL in value}
    install = {name.rpartition(".")[2] for name in listed}
    assert install == {"index": {"index-url"}, "extra_index": {"extra-index-url"}, "absent": set()}[form]
