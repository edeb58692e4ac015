"""CreateRepositoryOperator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import RepositoryLink
from airflow_gar_provider.operators.base import GarOperator


class CreateRepositoryOperator(GarOperator):
    """Make sure that a Python repository exists in Artifact Registry.

    What is not given is not compared. Maps and lists may also be JSON text, as a form gives them.

    :param repository: `projects/P/locations/L/repositories/R`.
    :param mode: standard, remote or virtual. It cannot be changed later.
    :param upstreams: for virtual a map from repository to priority (the higher wins, for the same version only); for
        remote "PYPI" or the URL of an index, which cannot be changed later.
    :param description: shown in the console.
    :param labels: these are set; labels that are not listed stay.
    :param cleanup_policies: what `gcloud artifacts repositories set-cleanup-policies` takes: a list of {"name",
        "action": {"type": "Delete" | "Keep"}, "condition" or "mostRecentVersions"}. All of them: others go.
    :param cleanup_dry_run: the policies only write to the log what they would delete.
    :param kms_key: `projects/P/locations/L/keyRings/K/cryptoKeys/C`. It cannot be changed later.
    :param update: change a repository that exists and is otherwise; without it, `differs` in the result says where.
    :return: {"outcome": created | updated | exists, "message", "repository", "index_url"}, with "differs" or "changed":
        {field: {"is", "wanted"}} where the one that was there is otherwise.
    """

    template_fields: Sequence[str] = (
        "repository",
        "mode",
        "upstreams",
        "description",
        "labels",
        "cleanup_policies",
        "cleanup_dry_run",
        "kms_key",
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
        labels: Mapping[str, str] | str | None = None,
        cleanup_policies: Sequence[Mapping[str, Any]] | str | None = None,
        cleanup_dry_run: bool | str | None = None,
        kms_key: str | None = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repository = repository
        self.mode = mode
        self.upstreams = upstreams
        self.description = description
        self.labels = labels
        self.cleanup_policies = cleanup_policies
        self.cleanup_dry_run = cleanup_dry_run
        self.kms_key = kms_key
        self.update = update

    def execute(self, context: Context) -> dict[str, Any]:
        """Create it, or see that it is there and how."""
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
                cleanup_policies=self.cleanup_policies,
                cleanup_dry_run=self.cleanup_dry_run,
                kms_key=self.kms_key,
                update=self.update,
                clock=self.clock(),
            )
        (self.log.warning if "differs" in result else self.log.info)(result["message"])
        return result
