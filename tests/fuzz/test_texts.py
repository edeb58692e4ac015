"""Texts of others: logs of builds, pages, answers, cells. Understood, in bounded time, and shown harmlessly."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from airflow_gar_provider.core.cause import Cause
from airflow_gar_provider.core.diagnosis import RegistryView, build_of, diagnose, is_package_failure, missing_in
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.foreign_text import LINE_LENGTH, LINES, VALUE_BYTES, Quote, keepable
from airflow_gar_provider.core.markdown import code, link, table
from airflow_gar_provider.core.redaction import redact, redact_error
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.core.resolution import parse_tree, pinned_down
from airflow_gar_provider.core.verification import last_lines, parse_pip_list
from airflow_gar_provider.errors import GarProviderError
from airflow_gar_provider.gcp.package_index import read_index_page
from tests.fuzz.strategies import FUZZ, JSON, LOG, LOG_LINE, ODD, PACKAGE, REPEATED, TEXT, VERSION

ENVIRONMENT = EnvironmentName.parse("projects/acme-data/locations/europe-west1/environments/dev")
REPOSITORY = RepositoryName.parse("projects/acme-packages/locations/europe-west1/repositories/python")
SECRETS = ("pa55word", "abcdefgh12345678", "QUJD" * 16)
"""What the strategies put into logs."""
VIEWS = st.lists(
    st.builds(
        RegistryView,
        st.just(REPOSITORY),
        st.sampled_from(["a", "my-pkg", "acme-demo", "0"]),
        st.none() | st.lists(VERSION, max_size=3).map(tuple),
        st.none() | st.booleans(),
        st.none() | TEXT,
        st.booleans(),
    ),
    max_size=3,
)


def diagnosed(message: str, log: list[str], views: list[RegistryView]) -> str:
    """All the text of a diagnosis, by the road of `steps.explain`."""
    is_package_failure(message)
    build_of(message)
    missing_in(message, log)
    found = diagnose(
        message,
        log,
        environment=ENVIRONMENT,
        service_account="dev@acme-data.iam.gserviceaccount.com",
        wanted=[Requirement("a", (), "==1"), Requirement("my-pkg", (), "")],
        views=views,
    )
    assert isinstance(found.cause, Cause)
    assert found.summary
    assert found.remedy
    return "\n".join(
        [found.summary, found.remedy, *found.evidence, *(f"{name}: {value}" for name, value in found.facts)]
    )


@FUZZ
@given(LOG_LINE, LOG, VIEWS)
@example("", ["-----BEGIN PRIVATE KEY-----", "QUJD" * 16, "-----END PRIVATE KEY-----"], [])
@example("", ["QUJD" * 16, "QUJD" * 16, "-----END PRIVATE KEY-----"], [])
def test_any_log_has_a_diagnosis(message: str, log: list[str], views: list[RegistryView]) -> None:
    """Whatever Composer and the build say: a cause, a remedy, and no credential of theirs."""
    log = [line for text in log for line in text.split("\n")]  # as it comes: a key is many lines
    shown = diagnosed(message, log, views)
    assert not [secret for secret in SECRETS if secret in shown]


@settings(FUZZ, max_examples=min(FUZZ.max_examples, 12) if FUZZ.derandomize else FUZZ.max_examples // 10)
@given(st.lists(st.sampled_from(REPEATED) | ODD, min_size=1, max_size=3), st.sampled_from(REPEATED))
def test_no_text_takes_long(pieces: list[str], last: str) -> None:
    """A line of 60 kB that repeats anything costs less than what a square of it would."""
    unit = "".join(pieces)
    text = (unit * (60_000 // len(unit) + 1) if unit else "") + last
    begun = time.process_time()
    redact(text)
    Quote.of(text)
    diagnosed(text, [text], [])
    # A square of 60 kB is 3.6 * 10^9 steps: more than ten seconds. What is linear takes tenths of one.
    assert time.process_time() - begun < 8


@pytest.mark.slow
@pytest.mark.parametrize("unit", REPEATED)
def test_a_megabyte(unit: str) -> None:
    """The same of a megabyte on one line; printed, because seconds are of the machine."""
    text = unit * (1_000_000 // len(unit))
    begun = time.process_time()
    diagnosed(text[:1_000_000], [text], [])
    print(f"{unit!r}: {time.process_time() - begun:.2f} s")
    assert time.process_time() - begun < 60


@FUZZ
@given(TEXT)
def test_redaction_is_done_once(text: str) -> None:
    """What was redacted stays as it is, and nothing but what it hides is lost."""
    once = redact(text)
    assert redact(once) == once


class _OddError(Exception):
    """An error with attributes and causes."""

    def __init__(self, text: str, value: object) -> None:
        super().__init__(text, value, text.encode("utf-8", "replace"), ValueError(text))
        self.message = text


@FUZZ
@given(st.lists(st.tuples(LOG_LINE, JSON), min_size=1, max_size=4), st.booleans())
def test_errors_are_cleaned(chain: list[tuple[str, object]], loop: bool) -> None:
    """A chain of errors, also one that bites its tail, is clean afterwards and says the same otherwise."""
    errors = [_OddError(text, value) for text, value in chain]
    for error, cause in itertools.pairwise(errors):
        error.__cause__, error.__context__ = cause, cause
    if loop and len(errors) > 2:
        errors[-1].__context__ = errors[1]
    redact_error(errors[0])
    one: BaseException | None = errors[0]
    for _ in range(10):
        if one is None:
            break
        assert not [secret for secret in SECRETS if secret in str(one) + repr(one)]
        one = one.__cause__


@FUZZ
@given(TEXT, JSON)
def test_foreign_logs_and_values(text: str, value: object) -> None:
    """What a task of an environment says and returns is bounded, and cannot move a cursor."""
    quote = Quote.of(text)
    assert len(quote.lines) <= LINES
    for line in quote.lines:
        assert len(line) <= LINE_LENGTH
        assert not [character for character in line if ord(character) < 32 and character != "\t"]
    assert len(quote.reason) <= 500
    assert len(json.dumps(keepable(value)).encode()) <= VALUE_BYTES + 100


_MARKDOWN = MarkdownIt("gfm-like", {"html": True})


@FUZZ
@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), min_size=1, max_size=4))
@example([["", ""]])
def test_a_table_keeps_its_shape(rows: list[list[str]]) -> None:
    """Whatever stands in the cells: as many rows and cells as there were, and nothing in them but code and text."""
    cells = [[code(text) for text in row] for row in rows]
    tokens = _MARKDOWN.parse(table(["a", "b"], cells))
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == 1
    assert kinds.count("tr_open") == len(rows) + 1
    columns = sum(any(column) for column in zip(*cells, strict=True)) or 2  # one with nothing in it is left out
    assert kinds.count("td_open") == columns * len(rows)
    assert not {"html_block", "heading_open", "fence", "paragraph_open"} & set(kinds)
    inner = [child for token in tokens for child in token.children or []]
    assert {child.type for child in inner} <= {"text", "code_inline"}


@FUZZ
@given(TEXT, TEXT)
def test_a_line_with_foreign_text(before: str, text: str) -> None:
    """In a sentence, too, a code span ends where it should."""
    tokens = _MARKDOWN.parse(f"Stage dev: {code(text)}, refused by {code(before)}.")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children or []} <= {"text", "code_inline"}


@FUZZ
@given(st.sampled_from(["https://", "http://", "javascript:", ""]), TEXT)
def test_links_lead_where_they_say(scheme: str, text: str) -> None:
    """A link has one target, https, or there is none."""
    shown = link("log", scheme + text)
    if shown != "log":
        found = [
            child for token in MarkdownIt().parse(shown) for child in token.children or [] if child.type == "link_open"
        ]
        assert len(found) == 1
        assert str(found[0].attrGet("href")).startswith("https://")


_HTML = st.lists(
    st.sampled_from(
        [
            "<a href='a-1.0.whl#sha256=00'>a</a>",
            "<a href=../../a-1.0.whl>",
            "<a",
            "<a href>",
            '<a href="">',
            "<a href='http://[::1' >",
            "<a href='//[x]/a.whl'>",
            "<base href='https://x/'>",
            "<base href='http://[x'>",
            "<base href='//'>",
            "<a href='a%ZZ%00b.whl' data-yanked data-requires-python='&gt;=3'>",
            "<!DOCTYPE",
            "<![CDATA[",
            "<![",
            "<!x",
            "<?",
            "&#xFFFFFFFF;",
            "&#0;",
            "<a href='https://h:99999999/a.whl'>",
            "<a href='data:,x'>",
            "</a>",
            "<script>",
            "<plaintext>",
            "<!-->",
        ]
    )
    | TEXT,
    max_size=6,
).map("".join)


@FUZZ
@given(_HTML, st.sampled_from(["https://europe-west1-python.pkg.dev/p/r/simple/a/", "https://h", "x"]))
@example("<base href='http://[x'>", "https://h")
@example("<![<base href='//'><", "https://h")
def test_index_pages(page: str, url: str) -> None:
    """Any page has links, or none, or is refused with a typed error."""
    try:
        for file in read_index_page(page, url):
            assert "#" not in file.url
    except GarProviderError:
        pass


_PIP_LIST = st.lists(
    st.builds(
        lambda name, space, version: f"{name}{space}{version}", PACKAGE, st.sampled_from(["==", "  ", " "]), VERSION
    )
    | st.sampled_from(
        [
            "Package Version",
            "------- -------",
            "[notice] A new release of pip is available: 24.0 -> 25.0",
            '[{"name": "a", "version": "1"}]',
            '[{"name": 1}]',
            "[",
            "├── a [required: >=1, installed: 1.0]",
            "└── a [required: Any, installed: ?]",
            "  - a [required: Any, installed: 1]",
            "│   ├── b [required: ~=1, installed: 2]",
            "a==1.0",
        ]
    )
    | TEXT,
    max_size=6,
).map("\n".join)


@FUZZ
@given(_PIP_LIST)
@example("[notice] A new release of pip is available: 24.0 -> 25.0\na==1.0")
@example("[\na==1.0")
@example('[{"name": 1}]')
def test_what_an_environment_prints(output: str) -> None:
    """`pip list` and `pipdeptree`, with whatever they print around it."""
    for name, version in parse_pip_list(output).items():
        assert isinstance(name, str)
        assert isinstance(version, str)
    parse_tree(output)
    pinned_down(output.splitlines())
    last_lines({"a.py": output})
