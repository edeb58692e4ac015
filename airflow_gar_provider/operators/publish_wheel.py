"""PublishWheelOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.assets import PUBLISHED, run_begun, tell_published
from airflow_gar_provider.compat import AssetAlias, Context
from airflow_gar_provider.lineage import lineage_of_publication
from airflow_gar_provider.links.gar import PackageLink, RepositoryLink, VersionLink, persist_package_links
from airflow_gar_provider.metrics import count_publication
from airflow_gar_provider.operators.base import GarOperator


class PublishWheelOperator(GarOperator):
    """Publish wheels and sdists to an Artifact Registry repository, and confirm by SHA-256 that it serves them.

    All files are checked before a byte is sent, and every problem is in one error: a readable zip whose members have
    their CRC, no paths that lead outside, one name and version in file name and metadata, and what the parameters below
    ask for. What a strict reader of metadata or RECORD would say, and pip does not, is a warning in the log and in the
    result. Running it again sends only what is not there.

    A DAG that is scheduled on `Asset("gar://PROJECT/LOCATION/REPOSITORY/PACKAGE")`, or on
    `AssetAlias("gar_published")` for every package, runs when a version was really published: a run that finds all
    files there fires nothing. The event's extra has package, version, repository, sha256 (by file) and tags.

    :param wheels: paths, folders, globs, `gs://` objects, prefixes or globs; a list, or one string with newlines or
        commas. Folders, prefixes and globs give their `.whl` and `.tar.gz` files.
    :param repository: `projects/P/locations/L/repositories/R`, a standard one.
    :param target_python: the Python of the environments that are to install it, `3.11` or several: a release of which
        no file installs there is refused.
    :param allowed_prefixes: prefixes, one of which every package's name must have, `acme-` say; no template field, as
        the next one, so that what a form says cannot change it.
    :param allowed_sources: `gs://BUCKET/FOLDER` or absolute folders below which every entry of `wheels` must lie.
    :param virtual_repository: a virtual repository; names that one of its public upstreams serves, too, are refused.
    :param max_size_mb: the most megabytes (10^6 bytes) that one file may have.
    :param parallel: how many files are sent at once.
    :return: {"outcome": uploaded | exists, "message", "repository", "files": [{"file", "package", "version", "sha256",
        "size", "outcome", "created" (the registry's time, ISO 8601), "warnings"}]}. Other content under the same file
        name is an error that shows both hashes.
    """

    template_fields: Sequence[str] = (
        "wheels",
        "repository",
        "target_python",
        "virtual_repository",
        "max_size_mb",
        *GarOperator.template_fields,
    )
    operator_extra_links = (RepositoryLink(), PackageLink(), VersionLink())

    def __init__(
        self,
        *,
        wheels: str | Sequence[str],
        repository: str,
        target_python: str | Sequence[str] | None = None,
        allowed_prefixes: str | Sequence[str] | None = None,
        allowed_sources: str | Sequence[str] | None = None,
        virtual_repository: str | None = None,
        max_size_mb: float | None = None,
        parallel: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(outlets=_with_alias(kwargs.pop("outlets", None)), **kwargs)
        self._published: dict[str, Any] | None = None
        self.wheels = wheels
        self.repository = repository
        self.target_python = target_python
        self.allowed_prefixes = allowed_prefixes
        self.allowed_sources = allowed_sources
        self.virtual_repository = virtual_repository
        self.max_size_mb = max_size_mb
        self.parallel = parallel

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Airflow's own, with the alias: a mapped task's outlets are read from here, before there is an instance."""
        return super().partial(outlets=_with_alias(kwargs.pop("outlets", None)), **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Collect, check, upload, confirm."""
        from airflow_gar_provider.core.allowed import Allowed
        from airflow_gar_provider.core.publishable import Rules
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.core.requirement import split_list
        from airflow_gar_provider.steps.publish import publish_from

        with self.explained(context):
            Allowed.read(sources=self.allowed_sources).require(sources=split_list(self.wheels))
            repository = RepositoryName.parse(self.repository)
            RepositoryLink().persist(context, repository.console_url)
            rules = Rules.read(
                allowed_prefixes=self.allowed_prefixes, target_python=self.target_python, max_size_mb=self.max_size_mb
            )
            virtual = RepositoryName.parse(self.virtual_repository) if self.virtual_repository else None
            result = publish_from(
                self.cloud(),
                self.wheels,
                repository,
                self.clock(),
                rules=rules,
                virtual=virtual,
                parallel=self.parallel,
                on_checked=lambda files: persist_package_links(
                    context, repository, [(item.name, item.version) for item in files]
                ),
                begun=run_begun(context) if context["ti"].try_number > 1 else None,
            )
            tell_published(context, result)
        count_publication(result["files"])
        self._published = result
        self.log.info(result["message"])
        return result

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What OpenLineage asks a task that has ended: the packages, as output datasets."""
        return lineage_of_publication(self._published) if self._published else None


def _with_alias(outlets: Any) -> list[Any]:  # an outlet is whatever Airflow takes for one
    """A task's own outlets, and the alias of all publications.

    A declared asset would fire at every run; an alias fires what `tell_published` adds to it.
    """
    own = outlets if isinstance(outlets, list) else [outlets] if outlets else []
    alias = AssetAlias(PUBLISHED)
    return own if alias in own else [*own, alias]
