"""DeployDagOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.operators.base import GarOperator


class DeployDagOperator(GarOperator):
    """Copy DAG files to an environment's `dags/` prefix, or delete them there.

    :param environment: `projects/P/locations/L/environments/E`.
    :param files: local paths or globs; a list, or one string with newlines or commas.
    :param delete: delete these files there instead.
    :return: {"outcome": written | unchanged, "message", "environment", "files": gs:// URIs}.
    """

    template_fields: Sequence[str] = ("environment", "files", *GarOperator.template_fields)
    operator_extra_links = (EnvironmentLink(),)

    def __init__(self, *, environment: str, files: str | Sequence[str], delete: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.files = files
        self.delete = delete

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare by MD5, copy what differs."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.steps.environment_dag import deploy_dags

        with self.explained(context):
            name = EnvironmentName.parse(self.environment)
            EnvironmentLink().persist(context, name.console_url)
            cloud = self.cloud()
            environment = cloud.composer.get_environment(name)
            result = deploy_dags(cloud.storage, environment, self.files, delete=self.delete)
        self.log.info(result["message"])
        return result
