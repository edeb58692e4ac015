"""ComposerPipConfigOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.operators.base import GarOperator


class ComposerPipConfigOperator(GarOperator):
    """Point an environment's pip.conf at a repository; comments and other options stay as they are.

    :param environment: `projects/P/locations/L/environments/E`.
    :param repository: `projects/P/locations/L/repositories/R`; a virtual one is recommended for `index`.
    :param form: index (`index-url`), extra_index (`extra-index-url`; open to dependency confusion), or absent.
    :param auth: "iam": no key; the environment's service account needs to be a reader of the repository.
    :return: {"outcome": written | unchanged, "message", "environment", "repository", "change": a redacted diff}.
    """

    template_fields: Sequence[str] = ("environment", "repository", "form", "auth", *GarOperator.template_fields)
    operator_extra_links = (EnvironmentLink(),)

    def __init__(
        self, *, environment: str, repository: str, form: str = "index", auth: str = "iam", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.repository = repository
        self.form = form
        self.auth = auth

    def execute(self, context: Context) -> dict[str, Any]:
        """Merge, and write with the generation that was read."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.steps.point import point

        with self.explained(context):
            name = EnvironmentName.parse(self.environment)
            repository = RepositoryName.parse(self.repository)
            EnvironmentLink().persist(context, name.console_url)
            cloud = self.cloud()
            environment = cloud.composer.get_environment(name)
            result = point(cloud.storage, environment, repository, form=self.form, auth=self.auth, clock=self.clock())
        self.log.info(result["message"])
        return result
