"""When the package is published, bring the fleet to it.

`PublishWheelOperator` emits an event on the asset for every file that it really uploaded, and each event starts this
DAG. What is rolled out is read from the registry when the plan is made, and one run is active at a time: ten publishes
in an hour end as one update of each environment, and the later runs find nothing to do.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_gar_provider.rollout import Fleet, roll_out

if TYPE_CHECKING:
    from airflow.sdk import DAG, Asset
else:
    try:
        from airflow.sdk import DAG, Asset
    except ImportError:  # Airflow 2.11
        from airflow import DAG
        from airflow.datasets import Dataset as Asset

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
PACKAGE = Asset("gar://acme-packages/europe-west1/python/mypythonlib")

with DAG(
    dag_id="roll_out_on_publish",
    dag_display_name="Roll out on publish",
    description="Roll the package out when it is published",
    schedule=[PACKAGE],
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "data-platform", "retry_delay": timedelta(minutes=1)},
    tags=["private packages"],
    doc_md=__doc__,
    owner_links={"data-platform": "https://wiki.example.com/data-platform"},
) as dag:
    roll_out(
        Fleet.from_file("fleet.yaml"),
        repository=REPOSITORY,
        strategy="newest_each",
        changed="replan",
        on_failure="roll_back",
    )
