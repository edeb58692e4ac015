"""CreateRepositoryOperator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import RepositoryLink
from airflow_gar_provider.operators.base import GarOperator


class CreateRepositoryOperator(GarOperator):
    """Make sure that a Python repository exists in Artifact Registry.

    :param repository: `projects/P/locations/L/repositories/R`.
    :param mode: standard, remote or virtual.
    :param upstreams: for virtual a map from repository to priority; for remote "PYPI" or the URL of an index.
    :param description: shown in the console; only used when the repository is created.
    :param labels: likewise.
    :return: {"outcome": created | exists, "message", "repository", "index_url"}.
    """

    template_fields: Sequence[str] = (
        "repository",
        "mode",
        "upstreams",
        "description",
        "labels",
        *GarOperator.template_fields,
    )
    operator_extra_links = (RepositoryLink(),)

    def __init__(
        self,
        *,
        repository: str,
        mode: str = "standard",
        upstreams: Mapping[str, int] | str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repository = repository
        self.mode = mode
        self.upstreams = upstreams
        self.description = description
        self.labels = labels

    def execute(self, context: Context) -> dict[str, Any]:
        """Create it, or see that it is there."""
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.steps.repository import create_repository

        with self.explained(context):
            repository = RepositoryName.parse(self.repository)
            RepositoryLink().persist(context, repository.console_url)
            result = create_repository(
                self.cloud().artifact_registry,
                repository,
                mode=self.mode,
                upstreams=self.upstreams,
                description=self.description,
                labels=self.labels,
            )
        self.log.info(result["message"])
        return result
