"""All services, as one identity uses them; each client is made when it is first needed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import Environment
    from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry
    from airflow_gar_provider.gcp.composer import Composer
    from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow
    from airflow_gar_provider.gcp.iam import Iam
    from airflow_gar_provider.gcp.logs import Logs
    from airflow_gar_provider.gcp.package_index import PackageIndex
    from airflow_gar_provider.gcp.secret_manager import SecretManager
    from airflow_gar_provider.gcp.session import Session
    from airflow_gar_provider.gcp.storage import Storage


class Cloud:
    """Google Cloud as one identity sees it. A generated client costs most of a second to import: only when used."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @cached_property
    def artifact_registry(self) -> ArtifactRegistry:
        """Repositories, packages, files, and their IAM policies."""
        from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry  # noqa: PLC0415

        return ArtifactRegistry(self.session)

    @cached_property
    def composer(self) -> Composer:
        """Environments and their operations."""
        from airflow_gar_provider.gcp.composer import Composer  # noqa: PLC0415

        return Composer(self.session)

    @cached_property
    def storage(self) -> Storage:
        """Buckets' objects."""
        from airflow_gar_provider.gcp.storage import Storage  # noqa: PLC0415

        return Storage(self.session)

    @cached_property
    def logs(self) -> Logs:
        """Build logs."""
        from airflow_gar_provider.gcp.logs import Logs  # noqa: PLC0415

        return Logs(self.session)

    @cached_property
    def iam(self) -> Iam:
        """Keys of service accounts."""
        from airflow_gar_provider.gcp.iam import Iam  # noqa: PLC0415

        return Iam(self.session)

    @cached_property
    def secret_manager(self) -> SecretManager:
        """What secrets hold."""
        from airflow_gar_provider.gcp.secret_manager import SecretManager  # noqa: PLC0415

        return SecretManager(self.session)

    @cached_property
    def package_index(self) -> PackageIndex:
        """What pip sees of a repository, and where uploads go."""
        from airflow_gar_provider.gcp.package_index import PackageIndex  # noqa: PLC0415

        return PackageIndex(self.session)

    def as_account(self, service_account: str) -> Cloud:
        """Google Cloud as a service account sees it; calls raise AccessDeniedError where it may not be impersonated."""
        return Cloud(self.session.impersonate(service_account))

    def airflow_of(self, environment: Environment) -> EnvironmentAirflow:
        """The Airflow inside an environment."""
        from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow  # noqa: PLC0415

        return EnvironmentAirflow(self.session, environment)
