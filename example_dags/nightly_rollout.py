"""Every night: bring the fleet to what its file says, and change only what has drifted.

A range in the file (`mypythonlib>=1,<2`) means the newest version that matches and that was published at least three
days ago; a younger one that is there already stays. What was rolled back in an environment is left alone there. A
night in which all is right changes nothing; one that takes more than three hours is told of in the triggerer's log, by
a deadline alert (Airflow 3.1 and later). Before its first use, write your own names into `fleet.yaml` and into the
constant. As soon as the DAG is unpaused, Airflow starts the run of the last night.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_gar_provider.deadline import finish_within
from airflow_gar_provider.rollout import Fleet, roll_out

if TYPE_CHECKING:
    from airflow.sdk import DAG
else:
    try:
        from airflow.sdk import DAG
    except ImportError:  # Airflow 2.11
        from airflow import DAG

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"

with DAG(
    dag_id="nightly_rollout",
    dag_display_name="Nightly rollout",
    description="Keep every environment at the packages that the fleet's file wants",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=8),
    default_args={"owner": "data-platform", "retry_delay": timedelta(minutes=2)},
    owner_links={"data-platform": "https://wiki.example.com/data-platform"},
    tags=["private packages"],
    **finish_within(timedelta(hours=3)),
    doc_md=__doc__,
) as dag:
    roll_out(
        Fleet.from_file("fleet.yaml"),
        repository=REPOSITORY,
        strategy="newest_each",
        minimum_age=3 * 24 * 3600,
        changed="replan",
        drain=1800,
        on_failure="roll_back",
    )
