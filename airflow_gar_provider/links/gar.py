"""Links to the Google Cloud console.

Airflow 3 reads a link from XCom under `xcom_key`; Airflow 2.11 calls `get_link` in the webserver. So operators push the
URL when they begin (`persist`), and it shows while the task still runs.
"""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_gar_provider.compat import BaseOperator, BaseOperatorLink, Context, read_xcom


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


class RepositoryLink(_ConsoleLink):
    """The repository's page in Artifact Registry."""

    name = "Artifact Registry"
    key = "gar_repository_link"
