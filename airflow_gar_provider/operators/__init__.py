"""The operators. Importing one costs a DAG file nothing but Airflow's own bases: names are looked up when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_gar_provider.operators.approve_stage import ApproveStageOperator
    from airflow_gar_provider.operators.begin_stage import BeginStageOperator
    from airflow_gar_provider.operators.begin_undo import BeginUndoOperator
    from airflow_gar_provider.operators.build_wheel import BuildWheelOperator
    from airflow_gar_provider.operators.check_rollout import CheckRolloutOperator
    from airflow_gar_provider.operators.create_repository import CreateRepositoryOperator
    from airflow_gar_provider.operators.deploy_dag import DeployDagOperator
    from airflow_gar_provider.operators.grant_access import GrantRepositoryAccessOperator
    from airflow_gar_provider.operators.install_package import InstallPrivatePackageOperator
    from airflow_gar_provider.operators.pip_config import ComposerPipConfigOperator
    from airflow_gar_provider.operators.plan_rollout import PlanRolloutOperator
    from airflow_gar_provider.operators.prune_package_versions import PrunePackageVersionsOperator
    from airflow_gar_provider.operators.publish_wheel import PublishWheelOperator
    from airflow_gar_provider.operators.report_rollout import ReportRolloutOperator
    from airflow_gar_provider.operators.roll_back_environment import RollBackEnvironmentOperator
    from airflow_gar_provider.operators.roll_out_environment import RollOutEnvironmentOperator
    from airflow_gar_provider.operators.rollout_outcome import RolloutOutcomeOperator
    from airflow_gar_provider.operators.run_environment_dag import RunEnvironmentDagOperator

__all__ = [
    "ApproveStageOperator",
    "BeginStageOperator",
    "BeginUndoOperator",
    "BuildWheelOperator",
    "CheckRolloutOperator",
    "ComposerPipConfigOperator",
    "CreateRepositoryOperator",
    "DeployDagOperator",
    "GrantRepositoryAccessOperator",
    "InstallPrivatePackageOperator",
    "PlanRolloutOperator",
    "PrunePackageVersionsOperator",
    "PublishWheelOperator",
    "ReportRolloutOperator",
    "RollBackEnvironmentOperator",
    "RollOutEnvironmentOperator",
    "RolloutOutcomeOperator",
    "RunEnvironmentDagOperator",
]

_MODULES = {
    "ApproveStageOperator": "approve_stage",
    "BeginStageOperator": "begin_stage",
    "BeginUndoOperator": "begin_undo",
    "BuildWheelOperator": "build_wheel",
    "CheckRolloutOperator": "check_rollout",
    "ComposerPipConfigOperator": "pip_config",
    "CreateRepositoryOperator": "create_repository",
    "DeployDagOperator": "deploy_dag",
    "GrantRepositoryAccessOperator": "grant_access",
    "InstallPrivatePackageOperator": "install_package",
    "PlanRolloutOperator": "plan_rollout",
    "PrunePackageVersionsOperator": "prune_package_versions",
    "PublishWheelOperator": "publish_wheel",
    "ReportRolloutOperator": "report_rollout",
    "RollBackEnvironmentOperator": "roll_back_environment",
    "RollOutEnvironmentOperator": "roll_out_environment",
    "RolloutOutcomeOperator": "rollout_outcome",
    "RunEnvironmentDagOperator": "run_environment_dag",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
