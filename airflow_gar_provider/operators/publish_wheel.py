"""PublishWheelOperator."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import RepositoryLink
from airflow_gar_provider.operators.base import GarOperator


class PublishWheelOperator(GarOperator):
    """Publish wheels to an Artifact Registry repository, and confirm by SHA-256 that it serves them.

    :param wheels: paths, globs, `gs://` objects, prefixes or globs; a list, or one string with newlines or commas.
    :param repository: `projects/P/locations/L/repositories/R`, a standard one.
    :return: {"outcome": uploaded | exists, "message", "repository", "files": [{"file", "package", "version", "sha256",
        "outcome"}]}. Other content under the same file name is an error that shows both hashes.
    """

    template_fields: Sequence[str] = ("wheels", "repository", *GarOperator.template_fields)
    operator_extra_links = (RepositoryLink(),)

    def __init__(self, *, wheels: str | Sequence[str], repository: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wheels = wheels
        self.repository = repository

    def execute(self, context: Context) -> dict[str, Any]:
        """Collect, check, upload, confirm."""
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.steps.publish import collect, publish, read_wheels

        with self.explained(context), tempfile.TemporaryDirectory(prefix="gar-publish-") as folder:
            repository = RepositoryName.parse(self.repository)
            RepositoryLink().persist(context, repository.console_url)
            cloud = self.cloud()
            wheels = read_wheels(collect(cloud.storage, self.wheels, Path(folder)))
            result = publish(cloud.artifact_registry, wheels, repository, self.clock())
        self.log.info(result["message"])
        return result
