"""What Airflow reads at start-up. It costs nothing and never fails: an error here ends every airflow command."""

from __future__ import annotations

from typing import Any

_OPERATORS = (
    "approve_stage",
    "begin_stage",
    "begin_undo",
    "build_wheel",
    "check_rollout",
    "create_repository",
    "deploy_dag",
    "grant_access",
    "install_package",
    "pip_config",
    "plan_rollout",
    "prune_package_versions",
    "publish_wheel",
    "report_rollout",
    "roll_back_environment",
    "roll_out_environment",
    "rollout_outcome",
    "run_environment_dag",
)
_TRIGGERS = ("drain", "environment_dag", "operation", "package_installed", "package_version")
_SENSORS = ("package_installed", "package_version", "stage_verdict")
_NAME = "Google Artifact Registry for Cloud Composer"


def get_provider_info() -> dict[str, Any]:
    """The provider's description, in the form of Airflow's `provider_info.schema.json`."""
    return {
        # Must equal the canonical name of the distribution.
        "package-name": "airflow-gar-provider",
        "name": _NAME,
        "description": "Publish private Python packages to Google Artifact Registry and roll them out to "
        "Cloud Composer (Managed Airflow) environments.",
        "integrations": [
            {
                "integration-name": _NAME,
                "external-doc-url": "https://cloud.google.com/artifact-registry/docs/python",
                "tags": ["gcp", "software"],
            }
        ],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [f"airflow_gar_provider.operators.{name}" for name in _OPERATORS],
            }
        ],
        "sensors": [
            {
                "integration-name": _NAME,
                "python-modules": [f"airflow_gar_provider.sensors.{name}" for name in _SENSORS],
            }
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": ["airflow_gar_provider.hooks.gar"]}],
        "triggers": [
            {
                "integration-name": _NAME,
                "python-modules": [f"airflow_gar_provider.triggers.{name}" for name in _TRIGGERS],
            }
        ],
        "asset-uris": [
            {
                "schemes": ["gar"],
                "handler": "airflow_gar_provider.assets.sanitize_uri",
                "factory": "airflow_gar_provider.assets.create_asset",
                "to_openlineage_converter": "airflow_gar_provider.assets.convert_asset_to_openlineage",
            }
        ],
        # The same for Airflow 2.
        "dataset-uris": [
            {
                "schemes": ["gar"],
                "handler": "airflow_gar_provider.assets.sanitize_uri",
                "factory": "airflow_gar_provider.assets.create_asset",
                "to_openlineage_converter": "airflow_gar_provider.assets.convert_asset_to_openlineage",
            }
        ],
        # Airflow 2.11 refuses to read a DAG whose operators have links that are not listed here.
        "extra-links": [
            "airflow_gar_provider.links.gar.EnvironmentLink",
            "airflow_gar_provider.links.gar.EnvironmentRunLink",
            "airflow_gar_provider.links.gar.RepositoryLink",
            "airflow_gar_provider.links.gar.PackageLink",
            "airflow_gar_provider.links.gar.VersionLink",
            "airflow_gar_provider.links.operation.BuildLogLink",
            "airflow_gar_provider.links.operation.OperationLink",
            "airflow_gar_provider.links.storage.BuiltFilesLink",
            "airflow_gar_provider.links.storage.LedgerLink",
            "airflow_gar_provider.links.storage.PlanLink",
        ],
    }
