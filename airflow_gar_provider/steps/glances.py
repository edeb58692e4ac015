"""Glances: whether an environment's pip.conf names a repository, kept for the next plan.

A plan asks for each pip.conf under the condition that it has another generation than the one seen last; one that has
not is answered with 304 and no content, and means what it meant then. Kept is the generation and the answer, never the
content: it may hold a key.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import airflow_gar_provider
from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import GarProviderError, InvalidNameError, InvalidPipConfError
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.point import PIP_CONF

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Glance:
    """What a pip.conf was found to be."""

    points: bool
    """Whether it names the repository, as a rollout would write it."""
    generation: int = 0
    """Of the object; 0: there is none."""


def look(storage: Storage, environment: Environment, repository: RepositoryName, last: Glance | None) -> Glance | None:
    """Whether the environment's pip.conf names the repository; None, and a warning, when it cannot be read.

    `last`: what was seen of it before. One call.
    """
    try:
        if last is None or not last.generation:
            read = storage.read(environment.require_bucket(), PIP_CONF)
        else:
            read = storage.read_unless(environment.require_bucket(), PIP_CONF, last.generation)
            if read is None:
                return last
    except GarProviderError as error:
        log.warning("pip.conf of %s cannot be read: %s", environment.name.name, error.what)
        return None
    content, generation = read or (b"", 0)
    try:
        before = pip_conf.decode(content)
        return Glance(pip_conf.with_repository(before, repository) == before, generation)
    except InvalidPipConfError:
        return Glance(points=False, generation=generation)  # the rollout's own step explains it


def dumps(glances: Mapping[EnvironmentName, Glance], repository: RepositoryName) -> str:
    """As JSON. It is of one repository, and of one version of this package: another may write another pip.conf."""
    seen = {str(name): [glance.generation, glance.points] for name, glance in glances.items() if glance.generation}
    value = {"provider": airflow_gar_provider.__version__, "repository": str(repository), "seen": seen}
    return json.dumps(value, sort_keys=True)


def loads(text: str | bytes, repository: RepositoryName) -> dict[EnvironmentName, Glance]:
    """Read what `dumps` made; nothing, when it was made for another repository, by another version, or is no such text.

    Then every pip.conf is read as if for the first time.
    """
    try:
        value = json.loads(text)
        if (value["provider"], value["repository"]) != (airflow_gar_provider.__version__, str(repository)):
            return {}
        return {
            EnvironmentName.parse(name): Glance(bool(points), int(generation))
            for name, (generation, points) in value["seen"].items()
        }
    except (ValueError, LookupError, TypeError, AttributeError, InvalidNameError) as error:
        log.warning("what was seen of pip.conf files before cannot be read, so all are read anew: %s", error)
        return {}
