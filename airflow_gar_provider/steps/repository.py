"""A repository that is there, as it should be, and may be read."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import Repository, RepositoryName, Sources, member_of, role_of
from airflow_gar_provider.core.repository_settings import UNCHANGEABLE, Settings, differences, settings_from
from airflow_gar_provider.core.requirement import split_list
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ConcurrentChangeError,
    InvalidInputError,
    NotConfirmedError,
    NotFoundError,
    OperationTimeoutError,
    RepositoryMismatchError,
)
from airflow_gar_provider.gcp.artifact_registry import ArtifactRegistry, RegistryOperation
from airflow_gar_provider.gcp.composer import Composer
from airflow_gar_provider.steps.clock import Clock

log = logging.getLogger(__name__)
_TRIES = 5
_OPERATION_WAIT = 300.0
"""Seconds that the registry gets to create a repository or to delete a version; it takes some."""


def create_repository(
    registry: ArtifactRegistry,
    repository: RepositoryName,
    *,
    mode: str = "standard",
    upstreams: object = None,
    description: str | None = None,
    labels: object = None,
    cleanup_policies: object = None,
    cleanup_dry_run: object = None,
    kms_key: str | None = None,
    update: bool = False,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Make sure that a Python repository exists. Outcomes: created, updated, exists.

    `upstreams`: for `virtual` a map from repository to priority; for `remote` "PYPI" or the URL of an index. What is
    None is not compared. Where the one that exists is otherwise, the result says so in `differs`; with `update` it is
    changed, except for what Google never changes. Raises RepositoryMismatchError when one of another format or mode
    has the name, or when `update` is asked for something that cannot be changed (nothing is changed then).
    """
    wanted = settings_from(
        repository,
        mode=mode,
        upstreams=upstreams,
        description=description,
        labels=labels,
        cleanup_policies=cleanup_policies,
        cleanup_dry_run=cleanup_dry_run,
        kms_key=kms_key,
    )
    found = registry.get_repository(repository)
    created = False
    if found is None:
        found, created = _create(registry, repository, wanted, clock or Clock())
    found.require_python(mode)
    differs = differences(found, wanted)
    if differs and update and not created:
        return _update(registry, found, wanted, differs)
    outcome = "created" if created else "exists"
    told = f", but is otherwise than wanted in {', '.join(differs)}" if differs else ""
    return _result(outcome, f"{outcome} in {repository.project}{told}", repository, differs)


def _create(
    registry: ArtifactRegistry, repository: RepositoryName, wanted: Settings, clock: Clock
) -> tuple[Repository, bool]:
    """The repository, and whether it was us who made it."""
    log.info("creating the %s Python repository %s", wanted.mode, repository)
    operation = registry.create_repository(repository, wanted)
    if operation is None:
        log.info("somebody else has created it a moment ago")
    else:
        wait_for(operation, f"the creation of {repository.name}", str(repository), clock)
    for pause in (1.0, 2.0, 4.0, 8.0, 0.0):
        found = registry.get_repository(repository)
        if found is not None:
            return found, operation is not None
        # The other creator's operation may still run.
        clock.sleep(pause)
    raise NotConfirmedError(
        "the repository was created, but cannot be seen (yet)",
        resource=str(repository),
        remedy="run this task again: it looks at what is there first",
    )


def wait_for(operation: RegistryOperation, what: str, resource: str, clock: Clock) -> None:
    """Wait until one of the registry's operations has ended; a line of the log for every look that finds it running.

    Raises what the operation failed with, and OperationTimeoutError.
    """
    deadline, pause = clock.monotonic() + _OPERATION_WAIT, 1.0
    while not operation.done():
        if clock.monotonic() > deadline:
            raise OperationTimeoutError(
                f"{what} did not end within {_OPERATION_WAIT:.0f} s ({operation.name})",
                resource=resource,
                remedy="run this task again: it looks at what is there first",
            )
        log.info("waiting for %s (%s)", what, operation.name)
        clock.sleep(pause)
        pause = min(pause * 2, 15.0)


def _update(
    registry: ArtifactRegistry, found: Repository, wanted: Settings, differs: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    refused = [f"{UNCHANGEABLE[field]} ({differs[field]['is']})" for field in differs if field in UNCHANGEABLE]
    if refused:
        raise RepositoryMismatchError(
            f"the repository cannot be changed as wanted: {'; '.join(refused)}",
            resource=str(found.name),
            remedy="create another repository, or give what this one has",
        )
    log.info("changing %s of %s", ", ".join(differs), found.name)
    registry.update_repository(found, wanted, frozenset(differs))
    now = registry.get_repository(found.name)
    left = differences(now, wanted) if now is not None else differs
    if left:
        raise ConcurrentChangeError(
            f"the repository was changed, but is again otherwise in {', '.join(left)}: somebody else changes it too",
            resource=str(found.name),
            remedy="find out who else manages it (Terraform?), and let one of you do it",
        )
    return _result("updated", f"updated in {found.name.project}: {', '.join(differs)}", found.name, differs)


def _result(
    outcome: str, message: str, repository: RepositoryName, differs: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "outcome": outcome,
        "message": f"repository {repository.name} {message}",
        "repository": str(repository),
        "index_url": repository.index_url,
    }
    if differs:
        result["changed" if outcome == "updated" else "differs"] = differs
    return result


def sources_of(registry: ArtifactRegistry, name: RepositoryName) -> Sources:
    """Where a repository's packages come from. An upstream that may not be looked at is `unseen`, not an error.

    Raises NotFoundError when the repository does not exist, AccessDeniedError when it may not be looked at itself.
    """
    found = registry.get_repository(name)
    if found is None:
        raise NotFoundError(
            "the repository does not exist",
            resource=str(name),
            remedy="create it first (CreateRepositoryOperator), or correct its name",
        )
    if found.mode != "virtual":
        return Sources((name,), ()) if found.mode == "standard" else Sources((), (name,))
    standard: list[RepositoryName] = []
    public: list[RepositoryName] = []
    unseen: list[RepositoryName] = []
    for upstream in found.upstreams:
        try:
            repository = registry.get_repository(upstream.repository)
        except AccessDeniedError as error:
            log.info("the upstream %s cannot be looked at: %s", upstream.repository, error.what)
            repository = None
        if repository is None:
            unseen.append(upstream.repository)
        else:
            (public if repository.mode == "remote" else standard).append(upstream.repository)
    return Sources(tuple(standard), tuple(public), tuple(unseen))


def grant_access(
    registry: ArtifactRegistry,
    composer: Composer,
    repository: RepositoryName,
    *,
    member: object = None,
    environment: EnvironmentName | Iterable[EnvironmentName] | None = None,
    role: str = "reader",
    clock: Clock,
) -> dict[str, Any]:
    """Give members, and environments' service accounts, a role on the repository. Outcomes: granted, exists.

    `member`: one or several, as `split_list` reads them. A binding with a condition is left alone, and does not count
    as the role. Raises ConcurrentChangeError when the policy kept changing under us.
    """
    environments = [environment] if isinstance(environment, EnvironmentName) else list(environment or ())
    iam_role = role_of(role)
    members = [member_of(text) for text in split_list(member)]
    if not members and not environments:
        raise InvalidInputError("give `member` or `environment`: whom to grant the role")
    members += [member_of(composer.get_environment(name).service_account) for name in environments]
    members = list(dict.fromkeys(members))
    for attempt in range(1, _TRIES + 1):
        policy = registry.get_policy(repository)
        holders = {m for b in policy.bindings if b.role == iam_role and not b.HasField("condition") for m in b.members}
        missing = [principal for principal in members if principal not in holders]
        if not missing:
            return _granted("exists", members, [], iam_role, repository)
        binding = next((b for b in policy.bindings if b.role == iam_role and not b.HasField("condition")), None)
        if binding is None:
            binding = policy.bindings.add(role=iam_role)
        binding.members.extend(missing)
        log.info("granting %s to %s on %s", iam_role, ", ".join(missing), repository)
        try:
            registry.set_policy(repository, policy)
        except ConcurrentChangeError:
            if attempt == _TRIES:
                raise
            log.info("somebody else changed the policy meanwhile: reading it again")
            clock.sleep(attempt)
            continue
        return _granted("granted", members, missing, iam_role, repository)
    raise AssertionError("the loop returns or raises")


def _granted(
    outcome: str, members: list[str], granted: list[str], role: str, repository: RepositoryName
) -> dict[str, Any]:
    verb = "may now use" if outcome == "granted" else "could already use"
    names = ", ".join(principal.split(":", 1)[1] for principal in granted or members)
    return {
        "outcome": outcome,
        "message": f"{names} {verb} repository {repository.name} ({role.rsplit('.', 1)[1]})",
        "member": ", ".join(members),
        "members": members,
        "granted": granted,
        "role": role,
        "repository": str(repository),
    }
