"""DeployDagOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.operators.base import GarOperator


class DeployDagOperator(GarOperator):
    """Copy DAG files to an environment's `dags/` prefix, or delete them there. Nothing else there is touched.

    A file that is there with the same content is not written again: Airflow would parse it for nothing. What a folder
    or a pattern takes keeps its sub-folders below `dags/`; hidden files are not taken (so an `.airflowignore` stays as
    it is, unless it is named), nor is `__pycache__`.

    :param environment: `projects/P/locations/L/environments/E`.
    :param files: local paths, folders (`team` keeps its name, `team/` gives its content) or patterns (`src/**/*.py`
        keeps what lies below `src/`), or `gs://` URIs of the same kinds; a list, or one string with newlines or commas.
    :param destination: folder below `dags/` to put them in.
    :param delete: delete these files there instead: those that would be written from here, and those that are named
        as `gs://` URIs of the environment's own bucket (as `files` of an earlier result). No pattern and no folder of
        that bucket is accepted: what is deleted is named.
    :return: {"outcome": written | deleted | unchanged, "message", "environment", "files", "written", "unchanged",
        "deleted"}; the last four are lists of gs:// URIs, and `files` has them all.
    """

    template_fields: Sequence[str] = ("environment", "files", "destination", *GarOperator.template_fields)
    operator_extra_links = (EnvironmentLink(),)

    def __init__(
        self,
        *,
        environment: str,
        files: str | Sequence[str],
        destination: str = "",
        delete: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.files = files
        self.destination = destination
        self.delete = delete

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare by MD5, copy what differs."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.steps.deploy_dag import deploy_dags

        with self.explained(context):
            name = EnvironmentName.parse(self.environment)
            EnvironmentLink().persist(context, name.console_url)
            cloud = self.cloud()
            environment = cloud.composer.get_environment(name)
            result = deploy_dags(
                cloud.storage, environment, self.files, destination=self.destination, delete=self.delete
            )
        self.log.info(result["message"])
        return result
