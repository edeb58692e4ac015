"""A repository that is there, and may be read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import MODES, RepositoryName, member_of, role_of, upstreams_from
from airflow_gar_provider.errors import ConcurrentChangeError, GarProviderError, InvalidInputError
from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry
from airflow_gar_provider.gcp.composer import Composer
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
_TRIES = 5


def create_repository(
    registry: ArtifactRegistry,
    repository: RepositoryName,
    *,
    mode: str = "standard",
    upstreams: object = None,
    description: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make sure that a Python repository exists. Outcomes: created, exists.

    `upstreams`: for `virtual` a map from repository to priority; for `remote` "PYPI" or the URL of an index.
    Raises RepositoryMismatchError when one of another format or mode has the name.
    """
    if mode not in MODES:
        raise InvalidInputError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
    if mode == "remote" and not isinstance(upstreams, str):
        raise InvalidInputError(f'upstreams of a remote repository is "PYPI" or the URL of an index, not {upstreams!r}')
    if mode == "standard" and upstreams:
        raise InvalidInputError("a standard repository has no upstreams")
    policies = upstreams_from(upstreams) if mode == "virtual" else ()
    found = registry.get_repository(repository)
    created = False
    if found is None:
        log.info("creating the %s Python repository %s", mode, repository)
        created = registry.create_repository(
            repository,
            mode=mode,
            description=description,
            labels=labels,
            upstreams=policies,
            remote=upstreams if isinstance(upstreams, str) else None,
        )
        found = registry.get_repository(repository)
    if found is None:
        raise GarProviderError("the repository was created, but cannot be seen", resource=str(repository))
    found.require_python(mode)
    return {
        "outcome": "created" if created else "exists",
        "message": f"repository {repository.name} {'created' if created else 'exists'} in {repository.project}",
        "repository": str(repository),
        "index_url": repository.index_url,
    }


def grant_access(
    registry: ArtifactRegistry,
    composer: Composer,
    repository: RepositoryName,
    *,
    member: str | None,
    environment: EnvironmentName | None,
    role: str = "reader",
    clock: Clock,
) -> dict[str, Any]:
    """Give a member, or an environment's service account, a role on the repository. Outcomes: granted, exists."""
    if (member is None) == (environment is None):
        raise InvalidInputError("give either `member` or `environment`")
    iam_role = role_of(role)
    if environment is not None:
        member = composer.get_environment(environment).service_account
    principal = member_of(member or "")
    for attempt in range(1, _TRIES + 1):
        policy = registry.get_policy(repository)
        if any(binding.role == iam_role and principal in binding.members for binding in policy.bindings):
            return _granted("exists", principal, iam_role, repository)
        binding = next((b for b in policy.bindings if b.role == iam_role and not b.HasField("condition")), None)
        if binding is None:
            binding = policy.bindings.add(role=iam_role)
        binding.members.append(principal)
        log.info("granting %s to %s on %s", iam_role, principal, repository)
        try:
            registry.set_policy(repository, policy)
        except ConcurrentChangeError:
            if attempt == _TRIES:
                raise
            log.info("somebody else changed the policy meanwhile: reading it again")
            clock.sleep(attempt)
            continue
        return _granted("granted", principal, iam_role, repository)
    raise AssertionError("the loop returns or raises")


def _granted(outcome: str, principal: str, role: str, repository: RepositoryName) -> dict[str, Any]:
    verb = "may now use" if outcome == "granted" else "could already use"
    return {
        "outcome": outcome,
        "message": f"{principal.split(':', 1)[1]} {verb} repository {repository.name} ({role.rsplit('.', 1)[1]})",
        "member": principal,
        "role": role,
        "repository": str(repository),
    }
