"""The 2022 way, kept alive where it has to be: rotate the service-account key that an environment's pip.conf holds.

A new key goes into pip.conf, a package is installed with it, and only then is the old key disabled; the next run
deletes it. An environment whose service account may read the repository needs no key at all: then run
`ComposerPipConfigOperator` once without one, and delete this DAG.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_gar_provider.operators import ComposerPipConfigOperator, InstallPrivatePackageOperator

if TYPE_CHECKING:
    from airflow.sdk import DAG, Param
else:
    try:
        from airflow.sdk import DAG, Param
    except ImportError:  # Airflow 2.11
        from airflow import DAG
        from airflow.models.param import Param

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
ENVIRONMENT = "projects/acme-data/locations/europe-west1/environments/dev"
READER = "pip-reader@acme-packages.iam.gserviceaccount.com"

with DAG(
    dag_id="rotate_key",
    dag_display_name="Rotate the key in pip.conf",
    description="Replace the key in an environment's pip.conf, and disable the old one when the new one has worked",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params={
        "requirement": Param(
            "mypythonlib==1.0.0",
            type="string",
            title="Requirement",
            description_md="What is installed with the new key. It has to be a change: without an update nothing "
            "proves that the new key works, and the old one stays.",
        )
    },
    default_args={"owner": "data-platform", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["private packages"],
    doc_md=__doc__,
    owner_links={"data-platform": "https://wiki.example.com/data-platform"},
) as dag:
    rotate = ComposerPipConfigOperator(
        task_id="rotate",
        task_display_name="New key into pip.conf",
        environment=ENVIRONMENT,
        repository=REPOSITORY,
        auth="service_account_key",
        key_service_account=READER,
        rotate=True,
    )
    install = InstallPrivatePackageOperator(
        task_id="install",
        task_display_name="Install with the new key",
        environment=ENVIRONMENT,
        requirements="{{ params.requirement }}",
        deferrable=True,
    )
    retire = ComposerPipConfigOperator(
        task_id="retire",
        task_display_name="Disable the old key",
        environment=ENVIRONMENT,
        key_service_account=READER,
        retire=True,
        operation="{{ ti.xcom_pull(task_ids='install')['operation'] }}",
    )
    rotate >> install >> retire
