"""GrantRepositoryAccessOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import RepositoryLink
from airflow_gar_provider.operators.base import GarOperator


class GrantRepositoryAccessOperator(GarOperator):
    """Give members, and the service accounts of environments, a role on a repository.

    A binding with a condition is left alone, and does not count as the role.

    :param repository: `projects/P/locations/L/repositories/R`.
    :param member: an IAM member, such as `group:data@example.com`, or several (a list, or one string with commas).
    :param environment: `projects/P/locations/L/environments/E`, or several: their service accounts get the role.
    :param role: reader or writer.
    :return: {"outcome": granted | exists, "message", "member", "members", "granted" (those who did not have it),
        "role", "repository"}.
    """

    template_fields: Sequence[str] = ("repository", "member", "environment", "role", *GarOperator.template_fields)
    operator_extra_links = (RepositoryLink(),)

    def __init__(
        self,
        *,
        repository: str,
        member: str | Sequence[str] | None = None,
        environment: str | Sequence[str] | None = None,
        role: str = "reader",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repository = repository
        self.member = member
        self.environment = environment
        self.role = role

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the policy, add the members, write it with its etag."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.core.requirement import split_list
        from airflow_gar_provider.steps.repository import grant_access

        with self.explained(context):
            repository = RepositoryName.parse(self.repository)
            RepositoryLink().persist(context, repository.console_url)
            cloud = self.cloud()
            result = grant_access(
                cloud.artifact_registry,
                cloud.composer,
                repository,
                member=self.member,
                environment=[EnvironmentName.parse(name) for name in split_list(self.environment)],
                role=self.role,
                clock=self.clock(),
            )
        self.log.info(result["message"])
        return result
