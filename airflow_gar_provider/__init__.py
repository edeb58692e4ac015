"""Publish private Python packages to Google Artifact Registry and roll them out to Cloud Composer environments.

A map of the rooms; `steps.py` is where to start reading::

    provider_info.py   what Airflow reads at start-up
    errors.py          one error tree
    steps.py           publish, point, request, check, verify: the flow, in order
    core/              what is true and what to do: decisions without I/O
    gcp/               how Google is spoken to: one class per service
    hooks/             Airflow connection -> gcp clients
    operators/ triggers/ links/   the Airflow surface
    compat.py          what differs between Airflow 2.11 and 3.x
    sandbox/           a pretend Google on one machine; imports nothing of the above
"""

__version__ = "0.1.0"
