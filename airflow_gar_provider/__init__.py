"""Publish private Python packages to Google Artifact Registry and roll them out to Cloud Composer environments.

A map of the rooms; `steps/` is where to start reading::

    provider_info.py   what Airflow reads at start-up
    errors.py          one error tree
    steps/             publish, point, request, check, verify: the flow, in order
    core/              what is true and what to do: decisions without I/O
    gcp/               how Google is spoken to: one class per service
    hooks/             Airflow connection -> gcp clients
    operators/ sensors/ triggers/ links/   the Airflow surface: one thin class per file
    assets.py          gar://project/location/repository/package
    rollout.py         Fleet and roll_out: many environments, in stages
    retry.py           GAR_RETRY_POLICY, for Airflow 3.3 and later
    compat.py          what differs between Airflow 2.11 and 3.x
    sandbox/           a pretend Google on one machine; imports nothing of the above
"""

__version__ = "0.1.0"
