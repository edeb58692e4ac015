"""What Airflow calls the machine that a component runs on: here, the name of the component's own folder."""

from __future__ import annotations

import os
from pathlib import Path


def of_this_component() -> str:
    """For `[core] hostname_callable`: `worker-1`, `triggerer-2`, …"""
    return Path(os.environ["AIRFLOW_HOME"]).name
