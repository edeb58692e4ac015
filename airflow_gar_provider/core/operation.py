"""Composer's long-running operation, and how many of them are looked at with few calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from airflow_gar_provider.errors import InvalidNameError

POLL_FLOOR = 10.0
"""Seconds. A task that is resumed sooner after its deferral was marked failed by the scheduler in 1 of 3 tries."""

_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/operations/(?P<id>[^/]+)")
_LOGS = "https://console.cloud.google.com/logs/query;query="


@dataclass(frozen=True)
class OperationName:
    """`projects/P/locations/L/operations/UUID`."""

    project: str
    """The project id."""
    location: str
    """The region, such as `europe-west1`."""
    id: str
    """The operation's own id."""

    @classmethod
    def parse(cls, text: str) -> OperationName:
        """Read an operation's name. Raises InvalidNameError."""
        match = _NAME.fullmatch(text) if isinstance(text, str) else None
        if not match:
            raise InvalidNameError(
                f"{text!r} is not the name of an operation",
                remedy="write projects/PROJECT/locations/LOCATION/operations/ID, "
                "as `gcloud composer operations list` prints it",
            )
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return f"{self.parent}/operations/{self.id}"

    @property
    def parent(self) -> str:
        """The location that holds it: `projects/P/locations/L`."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def url(self) -> str:
        """The Logs Explorer on what was logged for it.

        The console has no page for an operation. Its audit entries carry its name as `operation.id` (Cloud Audit Logs:
        long-running operations log their start and their end).
        """
        query = quote(f'operation.id="{self}"', safe="")
        return f"{_LOGS}{query}?project={quote(self.project, safe='')}"

    @property
    def gcloud(self) -> str:
        """The command that shows it."""
        return f"gcloud composer operations describe {self.id} --location {self.location} --project {self.project}"


@dataclass(frozen=True)
class Operation:
    """What Composer says of an operation. There is no way to cancel one."""

    name: str
    """`projects/P/locations/L/operations/UUID`."""
    resource: str
    """The environment that it works on."""
    kind: str
    """CREATE, UPDATE, CHECK, ..."""
    state: str
    """PENDING, RUNNING, SUCCEEDED, FAILED."""
    done: bool
    """Whether it has ended, well or not."""
    error_code: int = 0
    """The google.rpc code; 0 without an error. Failed package builds carry 3, as bad requests do."""
    error_message: str = ""
    """Google's words."""
    created: datetime | None = None
    """When it was accepted."""
    ended: datetime | None = None
    """When it ended."""

    @property
    def failed(self) -> bool:
        """Whether it ended in an error; an error may have a code and no message."""
        return self.done and bool(self.error_code or self.error_message)


@dataclass(frozen=True)
class Round:
    """One look at all operations that are awaited in a location: what has been found so far, and what to do next.

    The list of operations is newest first, a page of it holds many, and those that are awaited are new: a page costs
    one call and mostly finds them all. An operation that is got singly costs one call, too. So pages are read while
    they can be cheaper, and the operations that they did not bring are got.
    """

    awaited: frozenset[str]
    """Names that are still to be found."""
    deep: frozenset[str] = frozenset()
    """Names that an earlier round did not find in the pages that were worth reading: they only sink, and are got."""
    pages: int = 0
    """Pages read in this round."""
    barren: int = 0
    """Pages in a row that brought nothing that is awaited."""
    more: bool = True
    """Whether there may be another page; False from the start where listing is denied."""
    found: frozenset[str] = field(default=frozenset())
    """Names that the pages brought."""

    @property
    def listed(self) -> frozenset[str]:
        """What pages may still bring."""
        return self.awaited - self.deep

    @property
    def next(self) -> Literal["list", "get", "end"]:
        """Read the next page, get what is still awaited one by one, or nothing more.

        One operation is got: that is certain, a page is not. After as many barren pages as operations are missing,
        reading on has cost what getting costs: so a round never needs more than twice the calls of the better way,
        and the next one knows (`deep`).
        """
        if not self.awaited:
            return "end"
        return "list" if self.more and len(self.listed) > max(1, self.barren) else "get"

    def after_page(self, names: Iterable[str], *, more: bool) -> Round:
        """The round after one more page that held these names."""
        brought = self.awaited & frozenset(names)
        return Round(
            awaited=self.awaited - brought,
            deep=self.deep - brought,
            pages=self.pages + 1,
            barren=0 if brought else self.barren + 1,
            more=more,
            found=self.found | brought,
        )

    def without_pages(self) -> Round:
        """The round when no (further) page can be read."""
        return Round(self.awaited, self.deep, self.pages, self.barren, more=False, found=self.found)

    @property
    def sunk(self) -> frozenset[str]:
        """For the next round's `deep`: what pages were read for in vain, or what is deep already."""
        return self.awaited if self.pages else self.awaited & self.deep
