"""Links to the Google Cloud console.

Airflow 3 reads a link from XCom under `xcom_key`; Airflow 2.11 calls `get_link` in the webserver. So operators push the
URL when they begin (`persist`), and it shows while the task still runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_gar_provider.compat import BaseOperator, BaseOperatorLink, Context, read_xcom

if TYPE_CHECKING:
    from airflow_gar_provider.core.repository import RepositoryName


class _ConsoleLink(BaseOperatorLink):
    """A URL that the task pushed under this link's key."""

    key: ClassVar[str]

    @property
    def xcom_key(self) -> str:
        return self.key

    def persist(self, context: Context, url: str) -> None:
        """Show this URL from now on."""
        context["ti"].xcom_push(key=self.key, value=url)

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        return str(read_xcom(ti_key, self.key) or "")


class EnvironmentLink(_ConsoleLink):
    """The Composer environment's page."""

    name = "Composer environment"
    key = "gar_environment_link"


class EnvironmentRunLink(_ConsoleLink):
    """A DAG run in the Airflow of a Composer environment."""

    name = "DAG run in the environment"
    key = "gar_environment_run_link"


class RepositoryLink(_ConsoleLink):
    """The repository's page in Artifact Registry."""

    name = "Artifact Registry"
    key = "gar_repository_link"


class PackageLink(_ConsoleLink):
    """A package's page in Artifact Registry: its versions. Shown where a task is about one package."""

    name = "Package"
    key = "gar_package_link"


class VersionLink(_ConsoleLink):
    """A version's page in Artifact Registry: its files. Shown where a task is about one version."""

    name = "Package version"
    key = "gar_version_link"


def persist_package_links(context: Context, repository: RepositoryName, versions: Iterable[tuple[str, str]]) -> None:
    """Show the pages of the package and the version that a task is about, where it is about one: (name, version)."""
    pairs = set(versions)
    packages = {package for package, _ in pairs}
    if len(packages) == 1:
        [package] = packages
        PackageLink().persist(context, repository.package_console_url(package))
    if len(pairs) == 1:
        [(package, version)] = pairs
        VersionLink().persist(context, repository.version_console_url(package, version))
