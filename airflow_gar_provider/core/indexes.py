"""The package indexes that a pip.conf names, and which of them are repositories of Artifact Registry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from airflow_gar_provider.core.pip_conf_text import EXTRA, INDEX, NO_INDEX, TRUE, Settings, effective
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import InvalidNameError

PUBLIC = "https://pypi.org/simple"
"""pip's index when nothing else is said."""


@dataclass(frozen=True)
class Indexes:
    """Where `pip install` looks for packages."""

    urls: tuple[str, ...]
    """The main index, then the extra ones, as they are written: they may carry credentials."""
    hidden: bool = False
    """`no-index` is set: pip looks at none of them."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Indexes:
        """Read what `core.pip_conf.read_as_pip` gives."""
        main = effective(settings, INDEX).strip() or PUBLIC
        return cls((main, *effective(settings, EXTRA).split()), effective(settings, NO_INDEX).strip().lower() in TRUE)

    @property
    def repositories(self) -> tuple[RepositoryName, ...]:
        """Those of Artifact Registry."""
        found = (repository_of(url) for url in ([] if self.hidden else self.urls))
        return tuple(dict.fromkeys(name for name in found if name is not None))

    def signs_in(self, repository: RepositoryName) -> bool:
        """Whether pip.conf carries a password or key for a repository: the environment's own account is not asked."""
        return any(repository_of(url) == repository and _parts(url.strip()).password for url in self.urls)

    @property
    def foreign(self) -> tuple[str, ...]:
        """Hosts of the others: what they hold is not looked at."""
        urls = [] if self.hidden else [url for url in self.urls if repository_of(url) is None]
        return tuple(dict.fromkeys(_parts(url).hostname or "an index without a host" for url in urls))


def _parts(url: str) -> SplitResult:
    """The parts of a URL; of what is none (`https://[x`), for which pip finds no packages, there are none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def repository_of(url: str) -> RepositoryName | None:
    """The repository that an index URL means, whatever credentials it carries; None for another index.

    A domain-scoped project `example.com:packages` is written `example.com/packages` there.
    """
    parts = _parts(url.strip())
    host = re.fullmatch(r"(?P<location>[a-z0-9-]+)-python\.pkg\.dev", parts.hostname or "")
    path = [part for part in parts.path.split("/") if part]
    if not host or path[-1:] != ["simple"] or len(path) not in (3, 4):
        return None
    *project, name, _ = path
    try:
        return RepositoryName.parse(f"projects/{':'.join(project)}/locations/{host['location']}/repositories/{name}")
    except InvalidNameError:
        return None
