"""Supply: what the pip of one environment can choose from, as far as the caller may look."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from airflow_gar_provider.core.choice import CandidateFile, Target
from airflow_gar_provider.core.indexes import Indexes
from airflow_gar_provider.core.repository import RepositoryName, Sources
from airflow_gar_provider.errors import AccessDeniedError, GoogleApiError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.package_index import IndexFile
from airflow_gar_provider.gcp.remote_wheel import metadata_of

log = logging.getLogger(__name__)
_AT_ONCE = 8
"""Index pages that are read at the same time: a list of a thousand packages is a thousand pages."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass
class Supply:
    """The repositories behind an environment's pip.conf; each page of their indexes is read once."""

    cloud: Cloud
    indexes: Indexes
    """What pip.conf names, or will name after the update."""
    sources: Mapping[RepositoryName, Sources]
    """For each repository of Artifact Registry among the indexes; one that may not be looked at is not here."""
    target: Target | None
    """The environment's Python and platform; None when they are not known."""
    _pages: dict[tuple[RepositoryName, str], tuple[IndexFile, ...] | None] = field(default_factory=dict)
    _denied: set[RepositoryName] = field(default_factory=set)

    @property
    def standard(self) -> tuple[RepositoryName, ...]:
        """Where people publish to, by priority."""
        return tuple(dict.fromkeys(name for sources in self.sources.values() for name in sources.standard))

    @property
    def public(self) -> tuple[RepositoryName, ...]:
        """Remote repositories: what anybody can publish comes through them."""
        return tuple(dict.fromkeys(name for sources in self.sources.values() for name in sources.public))

    @property
    def is_whole(self) -> bool:
        """Whether everything that pip will look at can be looked at: then what is not found is not there."""
        unlooked = any(sources.unseen for sources in self.sources.values()) or self._denied or self.indexes.foreign
        known = bool(self.sources) and set(self.indexes.repositories) == set(self.sources)
        return known and not unlooked

    def page(self, repository: RepositoryName, package: str) -> tuple[IndexFile, ...] | None:
        """What a repository's index offers of a package; nothing for a 404, None when the caller may not look."""
        key = (repository, package)
        if key not in self._pages:
            self._pages[key] = None if repository in self._denied else self._read(repository, package)
        return self._pages[key]

    def _read(self, repository: RepositoryName, package: str) -> tuple[IndexFile, ...] | None:
        try:
            return self.cloud.package_index.files(repository, package) or ()
        except AccessDeniedError as error:
            if repository not in self._denied:
                self._denied.add(repository)
                log.warning("what %s holds is not known to this task: %s", repository, error.what)
            return None

    def prefetch(self, repositories: Iterable[RepositoryName], packages: Iterable[str]) -> None:
        """Read many pages at once."""
        wanted = [(repository, package) for package in packages for repository in repositories]
        each([key for key in wanted if key not in self._pages], lambda key: self.page(*key))

    def private(self, package: str) -> tuple[IndexFile, ...] | None:
        """What the standard repositories hold of a package; None when one of them may not be looked at.

        Of two files of one name the repository of the higher priority has its say.
        """
        return self._of(self.standard, package)

    def offered(self, package: str) -> tuple[IndexFile, ...] | None:
        """What the indexes themselves offer of a package: what pip will see of those that can be looked at."""
        return self._of(self.indexes.repositories, package)

    def _of(self, repositories: Iterable[RepositoryName], package: str) -> tuple[IndexFile, ...] | None:
        found: dict[str, IndexFile] = {}
        for repository in repositories:
            page = self.page(repository, package)
            if page is None:
                return None
            for file in page:
                found.setdefault(file.file, file)
        return tuple(found.values())

    def metadata(self, file: IndexFile) -> str | None:
        """A wheel's METADATA; None when it cannot be read."""
        try:
            return metadata_of(self.cloud.session, file.url)
        except GoogleApiError as error:
            log.warning("what %s requires is not known: %s", file.file, error.what)
            return None


def each(items: Iterable[_Item], look: Callable[[_Item], _Result]) -> list[_Result]:
    """`look` at every item, several at once where there are many."""
    listed = list(items)
    if len(listed) < _AT_ONCE:
        return [look(item) for item in listed]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, listed))


def candidates(files: Iterable[IndexFile]) -> list[CandidateFile]:
    """Links of an index as facts of a choice."""
    return [CandidateFile(file.file, file.requires_python, yanked=file.yanked is not None) for file in files]
