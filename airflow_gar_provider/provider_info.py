"""What Airflow reads at start-up. It costs nothing and never fails: an error here ends every airflow command."""

from __future__ import annotations

from typing import Any

_OPERATORS = (
    "build_wheel",
    "create_repository",
    "deploy_dag",
    "grant_access",
    "install_package",
    "pip_config",
    "publish_wheel",
    "run_environment_dag",
)
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
        "hooks": [{"integration-name": _NAME, "python-modules": ["airflow_gar_provider.hooks.gar"]}],
        "triggers": [{"integration-name": _NAME, "python-modules": ["airflow_gar_provider.triggers.operation"]}],
        # Airflow 2.11 refuses to read a DAG whose operators have links that are not listed here.
        "extra-links": [
            "airflow_gar_provider.links.gar.EnvironmentLink",
            "airflow_gar_provider.links.gar.RepositoryLink",
        ],
    }
