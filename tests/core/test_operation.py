"""How many calls a look at many operations takes."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core.operation import Operation, OperationName, Round
from airflow_gar_provider.errors import InvalidNameError

NAME = "projects/acme-data/locations/europe-west1/operations/0a1b"


def test_a_name_says_where_to_watch() -> None:
    """The parts, the page in the console, the command."""
    name = OperationName.parse(NAME)
    assert str(name) == NAME
    assert name.parent == "projects/acme-data/locations/europe-west1"
    assert name.gcloud == ("gcloud composer operations describe 0a1b --location europe-west1 --project acme-data")
    assert name.url == (
        "https://console.cloud.google.com/logs/query;query=operation.id%3D%22projects%2Facme-data%2Flocations%2F"
        "europe-west1%2Foperations%2F0a1b%22?project=acme-data"
    )
    with pytest.raises(InvalidNameError, match="'operations/x' is not the name of an operation"):
        OperationName.parse("operations/x")


@pytest.mark.parametrize(
    ("done", "code", "message", "failed"),
    [(True, 3, "", True), (True, 0, "broken", True), (True, 0, "", False), (False, 3, "broken", False)],
)
def test_failed(done: bool, code: int, message: str, failed: bool) -> None:
    """An error may have a code and no message; one that still runs has not failed."""
    assert Operation(NAME, "", "UPDATE", "x", done, code, message).failed is failed


def look(awaited: set[int], pages: list[set[int]], deep: frozenset[str] = frozenset()) -> tuple[Round, int, int]:
    """Play a round: its end, the pages read, and the operations got singly."""
    this = Round(frozenset(map(str, awaited)), deep)
    while this.next == "list":
        more = this.pages + 1 < len(pages)
        this = this.after_page(map(str, pages[this.pages] if pages else ()), more=more)
    return this, this.pages, len(this.awaited)


def pages_of(size: int) -> list[set[int]]:
    return [set(range(first, min(first + 100, size))) for first in range(0, size, 100)]


@pytest.mark.parametrize(
    ("awaited", "pages", "listed", "got"),
    [
        (set(), pages_of(300), 0, 0),
        ({0}, pages_of(300), 0, 1),  # one is got: that is certain
        ({0, 1}, pages_of(300), 1, 0),
        (set(range(1000)), pages_of(1000), 10, 0),
        ({0, 1, 250}, pages_of(300), 1, 1),  # the last one is got
        ({800, 801}, pages_of(1000), 2, 2),  # two pages in vain cost what two calls cost
        (set(range(0, 1000, 100)), pages_of(1000), 9, 1),  # one in every page
        ({5000, 5001}, pages_of(300), 2, 2),  # not in the list at all
        ({5000, 5001, 5002, 5003, 5004}, pages_of(300), 3, 5),
        ({0, 1}, [], 1, 2),  # an empty list
    ],
)
def test_pages_or_calls(awaited: set[int], pages: list[set[int]], listed: int, got: int) -> None:
    """Pages are read until all awaited are seen, unless that costs more calls than there are operations."""
    assert look(awaited, pages)[1:] == (listed, got)


def test_what_sank_is_got_from_then_on() -> None:
    """The next round does not read the same pages in vain, and new operations are listed as ever."""
    first, listed, got = look({800, 801}, pages_of(1000))
    assert (listed, got) == (2, 2)
    assert look({800, 801}, pages_of(1000), first.sunk)[1:] == (0, 2)
    again, listed, got = look({0, 1, 800, 801}, pages_of(1000), first.sunk)
    assert (listed, got) == (1, 2)
    assert again.sunk == first.sunk


def test_where_no_page_may_be_read() -> None:
    """Everything is got, and nothing is learned about where it stands in the list."""
    this = Round(frozenset("abc")).without_pages()
    assert (this.next, this.awaited, this.sunk) == ("get", frozenset("abc"), frozenset())
