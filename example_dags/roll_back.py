"""Undo a finished rollout: every environment that it changed gets its earlier packages back, the last one first.

Trigger it with the rollout's name, `DAG_ID/RUN_ID`, as the ledger and the run's page have it. The versions that are
taken back are held in those environments: nightly rollouts leave them alone until somebody releases them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_gar_provider.operators import BeginUndoOperator, RollBackEnvironmentOperator
from airflow_gar_provider.rollout import LABEL, Fleet

if TYPE_CHECKING:
    from airflow.sdk import DAG, Param
else:
    try:
        from airflow.sdk import DAG, Param
    except ImportError:  # Airflow 2.11
        from airflow import DAG
        from airflow.models.param import Param

FLEET = Fleet.from_file("fleet.yaml")

with DAG(
    dag_id="roll_back",
    dag_display_name="Roll back a rollout",
    description="Give the environments of a rollout the packages that they had before it",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params={
        "rollout": Param(
            None,
            type=["null", "string"],
            pattern="^[^/]+/.+$",
            title="Rollout",
            description_md="`DAG_ID/RUN_ID` of the run to undo, such as `nightly_rollout/manual__2026-11-22`.",
        )
    },
    default_args={"owner": "data-platform", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["private packages"],
    doc_md=__doc__,
    owner_links={"data-platform": "https://wiki.example.com/data-platform"},
) as dag:
    begin = BeginUndoOperator(
        task_id="begin",
        task_display_name="Begin undo",
        state=FLEET.state,
        rollout="{{ params.rollout }}",
    )
    RollBackEnvironmentOperator.partial(
        task_id="environment",
        task_display_name="Undo",
        state=FLEET.state,
        rollout="{{ params.rollout }}",
        why="undone by hand",
        max_active_tis_per_dagrun=1,
        map_index_template=LABEL,
    ).expand_kwargs(begin.output)
