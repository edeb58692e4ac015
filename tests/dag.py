"""Airflow's `DAG`, from where this Airflow wants it to be imported."""

from __future__ import annotations

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow import DAG

__all__ = ["DAG"]
