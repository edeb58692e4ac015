"""Point: an environment's pip.conf at a repository."""

from __future__ import annotations

import logging
from typing import Any

from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import ConcurrentChangeError, InvalidInputError
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
PIP_CONF = "config/pip/pip.conf"
"""Where Composer's build reads it from, below the environment's bucket (Google: "Install Python dependencies")."""
_TRIES = 5


def point(
    storage: Storage,
    environment: Environment,
    repository: RepositoryName,
    *,
    form: str = "index",
    auth: str = "iam",
    clock: Clock,
) -> dict[str, Any]:
    """Make the environment's next image build use the repository. Outcomes: written, unchanged.

    The file is merged, and replaced only if it is still the one that was read. It is read by the *next* build: writing
    it changes nothing that runs.
    """
    if auth != "iam":
        raise InvalidInputError(
            f"auth={auth!r} is not offered yet",
            remedy='use auth="iam" and grant the environment\'s service account roles/artifactregistry.reader',
        )
    bucket = environment.require_bucket()
    for attempt in range(1, _TRIES + 1):
        found = storage.read(bucket, PIP_CONF)
        content, generation = found if found else (b"", 0)
        before = pip_conf.decode(content)
        after = pip_conf.point(before, repository, form)
        for url in pip_conf.credentialed_urls(after):
            log.warning("pip.conf holds a URL with credentials: %s. Without a key it would be safer", url)
        if after == before:
            log.info("gs://%s/%s names %s already (%s)", bucket, PIP_CONF, repository, form)
            return _result("unchanged", environment, repository, form, "")
        change = pip_conf.difference(before, after)
        log.info("writing gs://%s/%s:\n%s", bucket, PIP_CONF, change)
        if form == "extra_index":
            log.warning(
                "with extra-index-url pip takes the highest version of either index: whoever publishes a higher "
                "version of a private name to the public index is installed (dependency confusion)"
            )
        try:
            storage.write(bucket, PIP_CONF, after.encode(), if_generation=generation)
        except ConcurrentChangeError:
            if attempt == _TRIES:
                raise
            log.info("somebody else wrote pip.conf meanwhile: reading it again")
            clock.sleep(attempt)
            continue
        return _result("written", environment, repository, form, change)
    raise AssertionError("the loop returns or raises")


def _result(
    outcome: str, environment: Environment, repository: RepositoryName, form: str, change: str
) -> dict[str, Any]:
    verbs = {
        ("written", True): f"no longer names {repository.name}",
        ("unchanged", True): f"does not name {repository.name}",
        ("written", False): f"now points at {repository.name}",
        ("unchanged", False): f"already points at {repository.name}",
    }
    return {
        "outcome": outcome,
        "message": f"pip.conf of {environment.name.name} {verbs[outcome, form == 'absent']}",
        "environment": str(environment.name),
        "repository": str(repository),
        "change": change,
    }
