"""The operators. Importing one costs a DAG file nothing but Airflow's own bases: names are looked up when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_gar_provider.operators.build_wheel import BuildWheelOperator
    from airflow_gar_provider.operators.create_repository import CreateRepositoryOperator
    from airflow_gar_provider.operators.deploy_dag import DeployDagOperator
    from airflow_gar_provider.operators.grant_access import GrantRepositoryAccessOperator
    from airflow_gar_provider.operators.install_package import InstallPrivatePackageOperator
    from airflow_gar_provider.operators.pip_config import ComposerPipConfigOperator
    from airflow_gar_provider.operators.publish_wheel import PublishWheelOperator
    from airflow_gar_provider.operators.run_environment_dag import RunEnvironmentDagOperator

__all__ = [
    "BuildWheelOperator",
    "ComposerPipConfigOperator",
    "CreateRepositoryOperator",
    "DeployDagOperator",
    "GrantRepositoryAccessOperator",
    "InstallPrivatePackageOperator",
    "PublishWheelOperator",
    "RunEnvironmentDagOperator",
]

_MODULES = {
    "BuildWheelOperator": "build_wheel",
    "ComposerPipConfigOperator": "pip_config",
    "CreateRepositoryOperator": "create_repository",
    "DeployDagOperator": "deploy_dag",
    "GrantRepositoryAccessOperator": "grant_access",
    "InstallPrivatePackageOperator": "install_package",
    "PublishWheelOperator": "publish_wheel",
    "RunEnvironmentDagOperator": "run_environment_dag",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
