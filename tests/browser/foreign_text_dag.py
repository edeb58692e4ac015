"""Asks before the stage of a plan that the test has put into the bucket: see `test_foreign_text`."""

from airflow.sdk import DAG

from airflow_gar_provider.operators.approve_stage import ApproveStageOperator

with DAG("foreign_text", schedule=None):
    ApproveStageOperator(task_id="question", stage="prod", state="gs://acme-packages-builds/foreign-text", retries=0)
