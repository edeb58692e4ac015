"""All services, as one identity uses them; each client is made when it is first needed."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import Environment
    from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry
    from airflow_gar_provider.gcp.composer import Composer
    from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow
    from airflow_gar_provider.gcp.logs import Logs
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

    def airflow_of(self, environment: Environment) -> EnvironmentAirflow:
        """The Airflow inside an environment."""
        from airflow_gar_provider.gcp.environment_airflow import EnvironmentAirflow  # noqa: PLC0415

        return EnvironmentAirflow(self.session, environment)
