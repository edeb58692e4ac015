"""PrunePackageVersionsOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import RepositoryLink
from airflow_gar_provider.operators.base import GarOperator


class PrunePackageVersionsOperator(GarOperator):
    """Delete package versions that no rule and no environment keeps. A dry run unless told otherwise.

    The newest version of a package always stays, and what a listed environment requires: the version of an exact pin,
    the newest version that a range allows. List every environment that installs from the repository: a version that
    is gone breaks the next rebuild of an image that pins it.

    :param repository: `projects/P/locations/L/repositories/R`, a standard one.
    :param packages: only these; all packages of the repository when it is empty.
    :param keep_last: so many of the newest versions of each package stay.
    :param keep_newer_than_days: versions that were published in these last days stay.
    :param keep_matching: versions that match stay: specifiers (`==1.*`), requirements (`acme-utils>=2`), and regular
        expressions between slashes (`/rc/`); a list, or one string with newlines or commas.
    :param environments: `projects/P/locations/L/environments/E`, several: what they require stays.
    :param ignore_unreadable_environments: an environment that cannot be read is a warning, not an error.
    :param dry_run: only say what would be deleted.
    :return: {"outcome": planned | deleted | unchanged, "message", "repository", "dry_run", "would_delete" or "deleted":
        [{"package", "version", "created", "size", "why"}], "kept": {package: {version: why}}}.
    """

    template_fields: Sequence[str] = (
        "repository",
        "packages",
        "keep_last",
        "keep_newer_than_days",
        "keep_matching",
        "environments",
        *GarOperator.template_fields,
    )
    operator_extra_links = (RepositoryLink(),)
    ui_color = "#fce8e6"

    def __init__(
        self,
        *,
        repository: str,
        packages: str | Sequence[str] | None = None,
        keep_last: int | str | None = None,
        keep_newer_than_days: float | str | None = None,
        keep_matching: str | Sequence[str] | None = None,
        environments: str | Sequence[str] | None = None,
        ignore_unreadable_environments: bool = False,
        dry_run: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repository = repository
        self.packages = packages
        self.keep_last = keep_last
        self.keep_newer_than_days = keep_newer_than_days
        self.keep_matching = keep_matching
        self.environments = environments
        self.ignore_unreadable_environments = ignore_unreadable_environments
        self.delete = not dry_run  # BaseOperator of Airflow 2 has a method `dry_run`

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the environments and the versions, decide, delete."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.core.prune import KeepRules
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.core.requirement import parse_names, split_list
        from airflow_gar_provider.steps.prune import prune

        with self.explained(context):
            repository = RepositoryName.parse(self.repository)
            RepositoryLink().persist(context, repository.console_url)
            result = prune(
                self.cloud(),
                repository,
                KeepRules.of(
                    last=self.keep_last, newer_than_days=self.keep_newer_than_days, matching=self.keep_matching
                ),
                environments=[EnvironmentName.parse(name) for name in split_list(self.environments)],
                packages=parse_names(self.packages),
                dry_run=not self.delete,
                ignore_unreadable=self.ignore_unreadable_environments,
                clock=self.clock(),
            )
        self.log.info(result["message"])
        return result
