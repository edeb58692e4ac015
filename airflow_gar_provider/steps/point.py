"""Point: an environment's pip.conf at repositories."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.service_account_key import ServiceAccountKey
from airflow_gar_provider.errors import AccessDeniedError, ConcurrentChangeError, InvalidInputError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.access import access_of
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.key import Chosen, KeySource, Mask, key_for
from airflow_gar_provider.steps.pip_backup import PIP_CONF, backup_name, keep, prune, read_conf, restore

__all__ = ["PIP_CONF", "Pointing", "configure", "point", "put_back"]

log = logging.getLogger(__name__)
_TRIES = 5
_WITH_KEY = "service_account_key"
_RUN, _REPLACED = "gar-run", "gar-replaced"
"""In the notes of a pip.conf of ours: whose run wrote it, and which generation it replaced."""
_WORST = ("missing", "unknown", "granted")


@dataclass(frozen=True)
class Pointing:
    """What one task wants of one environment's pip.conf."""

    environment: EnvironmentName
    repositories: tuple[RepositoryName, ...]
    """For `index` the first is the index, the others stand beside it."""
    form: str = "index"
    """index, extra_index or absent."""
    source: KeySource | None = None
    """Where a key comes from; None: no key."""
    rotate: bool = False
    """Make a new key, unless this run has made it already."""
    run: str = ""
    """Identifies the task's run over all its tries."""
    goes_on: bool = False
    """A retry: what an earlier try has written is told again."""


def configure(cloud: Cloud, wanted: Pointing, mask: Mask, clock: Clock) -> dict[str, Any]:
    """Ask who may read, find or make a key where one is wanted, and point. The result: see `point`, and

    "access": granted | missing | unknown | "" (nothing to read), the worst of all repositories; "grants": the commands
    that would grant it; "warnings": sentences for people; "account", "key": whose key pip.conf holds, by its id.
    """
    environment = cloud.composer.get_environment(wanted.environment)
    bucket = environment.require_bucket()
    text, _ = read_conf(cloud.storage, bucket)
    # A file that cannot be edited is found before a key is made for it.
    pip_conf.point(text, wanted.repositories, wanted.form)
    for held in pip_conf.keys_in(text):
        for secret in held.secrets:
            mask(secret)
    chosen = _chosen(cloud, bucket, wanted, mask)
    account = chosen.key.email if chosen else environment.service_account
    access, grants, warnings = _access(cloud, wanted, account)
    warnings += _alone(cloud, wanted)
    if chosen:
        warnings += [
            f"pip.conf holds a key of {account}: whoever writes DAGs can read it, and it never ends",
            *chosen.warnings,
        ]
    for warning in warnings:
        log.warning("%s", warning)
    result = point(
        cloud.storage,
        environment,
        wanted.repositories,
        form=wanted.form,
        auth=_WITH_KEY if chosen else "iam",
        key=chosen.key if chosen else None,
        run=wanted.run,
        goes_on=wanted.goes_on,
        clock=clock,
    )
    named = {"account": account, "key": chosen.key.id if chosen else None}
    return {**result, **named, "access": access, "grants": grants, "warnings": [*warnings, *result["warnings"]]}


def _chosen(cloud: Cloud, bucket: str, wanted: Pointing, mask: Mask) -> Chosen | None:
    if wanted.source is None or wanted.form == "absent":
        return None
    return key_for(cloud, bucket, wanted.source, rotate=wanted.rotate, run=wanted.run, mask=mask)


def _access(cloud: Cloud, wanted: Pointing, account: str) -> tuple[str, list[str], list[str]]:
    """The worst access of all repositories, the commands that grant it, and what people should know."""
    if wanted.form == "absent":
        return "", [], []
    states, grants, warnings = [], [], []
    for repository in wanted.repositories:
        access = access_of(cloud, repository, account)
        states.append(access.state)
        if access.state != "granted":
            grants.append(access.grant)
            words = {"missing": "may not read", "unknown": "may perhaps not read"}[access.state]
            warnings.append(f"{account} {words} {repository} ({access.how}); this grants it: {access.grant}")
        if repository.project == wanted.environment.project:
            warnings.append(
                f"{repository} lies in the environment's own project: with roles/composer.worker there every DAG may "
                "overwrite and delete every package; a project of its own, with reader alone, is safer"
            )
    return min(states, key=_WORST.index), grants, warnings


def _alone(cloud: Cloud, wanted: Pointing) -> list[str]:
    """What the only index means when it is no virtual repository: pip asks no other one, the public one neither."""
    if wanted.form != "index":
        return []
    try:
        found = cloud.artifact_registry.get_repository(wanted.repositories[0])
    except AccessDeniedError as error:
        log.info("whether the repository is a virtual one cannot be seen: %s", error.what)
        return []
    if found is None:
        return [f"there is no repository {wanted.repositories[0]}, or it may not be seen: builds will find no package"]
    if found.mode == "virtual" or len(wanted.repositories) > 1:
        return []
    why = "as the only index it has to hold every package of the environment"
    how = "a virtual one in front of it and of a remote one for the public index is what Google recommends"
    return [f"{found.name} is a {found.mode} repository: {why}; {how}"]


def point(
    storage: Storage,
    environment: Environment,
    repository: RepositoryName | Sequence[RepositoryName],
    *,
    form: str = "index",
    auth: str = "iam",
    key: ServiceAccountKey | None = None,
    if_unused: bool = False,
    run: str = "",
    goes_on: bool = False,
    clock: Clock,
) -> dict[str, Any]:
    """Make the environment's next image build use the repositories. Outcomes: written, unchanged.

    `if_unused`: a file that uses the (one) repository already, in whatever form, stays as it is. `run` identifies the
    task's run over all its tries; with `goes_on`, a file that an earlier try of it has written is `written`, and
    `restore` is what that one replaced.

    The file is merged, copied aside, and replaced only if it is still the one that was read. It is read by the *next*
    build: writing it changes nothing that runs. The result: "outcome", "message", "environment", "repository",
    "repositories", "change": a diff without credentials, "restore": the generation by which `put_back` undoes it,
    "warnings". Raises InvalidPipConfError, ConcurrentChangeError after five tries.
    """
    if auth not in ("iam", _WITH_KEY) or (auth == _WITH_KEY) != (key is not None):
        raise InvalidInputError(f'auth is "iam", or "{_WITH_KEY}" with a key, not {auth!r}')
    repositories = [repository] if isinstance(repository, RepositoryName) else list(repository)
    bucket = environment.require_bucket()
    sent, change, replaced = None, "", 0
    for attempt in range(1, _TRIES + 1):
        before, generation = read_conf(storage, bucket)
        used = if_unused and pip_conf.in_use(before, repositories[0])
        after = before if used else pip_conf.point(before, repositories, form, key)
        warnings = [*pip_conf.cautions(after, form), *_taken_out(before, after)]
        for caution in warnings:
            log.warning("%s", caution)
        if before == sent:
            # The answer to our own write was lost, and its repetition refused.
            return _result(
                "written", environment, repositories, form, change=change, generation=replaced, warnings=warnings
            )
        if after == before and goes_on and (told := _written_before(storage, bucket, before, run)):
            change, replaced, gone = told
            return _result(
                "written",
                environment,
                repositories,
                form,
                change=change,
                generation=replaced,
                warnings=[*warnings, *gone],
            )
        if after == before:
            log.info("gs://%s/%s is as it should be (%s)", bucket, PIP_CONF, form)
            return _result(
                "unchanged", environment, repositories, form, change="", generation=generation, warnings=warnings
            )
        sent, change, replaced = after, pip_conf.difference(before, after), generation
        try:
            keep(storage, bucket, generation)
            log.info("writing gs://%s/%s:\n%s", bucket, PIP_CONF, change)
            notes = {_RUN: run, _REPLACED: str(generation)} if run else None
            storage.write(bucket, PIP_CONF, after.encode(), if_generation=generation, notes=notes)
        except ConcurrentChangeError:
            if attempt == _TRIES:
                raise
            log.info("somebody else wrote pip.conf meanwhile: reading it again")
            clock.sleep(attempt)
            continue
        prune(storage, bucket)
        return _result(
            "written", environment, repositories, form, change=change, generation=generation, warnings=warnings
        )
    raise AssertionError("the loop returns or raises")


def _written_before(storage: Storage, bucket: str, text: str, run: str) -> tuple[str, int, list[str]] | None:
    """What an earlier try of this run has done: the change, the generation that it replaced, and what was taken out.

    That try died before it could say so; it is in the object's own notes, which somebody else's write would not keep.
    """
    ours = written_by(storage, bucket, run)
    if ours is None:
        return None
    replaced = ours[1]
    log.info("an earlier try of this run has written gs://%s/%s", bucket, PIP_CONF)
    kept = storage.read(bucket, backup_name(replaced)) if replaced else None
    earlier = pip_conf.decode(kept[0]) if kept else ""
    prune(storage, bucket)
    return pip_conf.difference(earlier, text), replaced, _taken_out(earlier, text)


def written_by(storage: Storage, bucket: str, run: str) -> tuple[int, int] | None:
    """The generation of pip.conf when a run wrote it, and the one that it replaced; None when it is another's.

    Both are in the object's own notes: a look at what is there afterwards would take somebody else's write for ours.
    """
    notes, generation = storage.notes(bucket, PIP_CONF)
    replaced = notes.get(_REPLACED, "")
    return (generation, int(replaced)) if notes.get(_RUN) == run and replaced.isdecimal() else None


def _taken_out(before: str, after: str) -> list[str]:
    kept = {key.email for key in pip_conf.keys_in(after)}
    gone = [key for key in pip_conf.keys_in(before) if key.email not in kept]
    return [
        f"the key {key.id} of {key.email} is taken out of pip.conf and stays valid: the environment's own service "
        "account has to be a reader from now on"
        for key in gone
    ]


def put_back(cloud: Cloud, name: EnvironmentName, generation: str) -> dict[str, Any]:
    """Give pip.conf the content back that it had in a generation; "0": no file. Outcomes: written, unchanged.

    The result is that of `point`, without repositories. Raises NotFoundError when no copy of that generation is kept.
    """
    environment = cloud.composer.get_environment(name)
    bucket = environment.require_bucket()
    before, after, current = restore(cloud.storage, bucket, generation)
    outcome = "written" if before != after or (current == 0) != (generation == "0") else "unchanged"
    words = "has its content of" if outcome == "written" else "already has the content of"
    change = pip_conf.difference(before, after)
    if change:
        log.info("restored gs://%s/%s:\n%s", bucket, PIP_CONF, change)
    return {
        "outcome": outcome,
        "message": f"pip.conf of {name.name} {words} generation {generation}",
        "environment": str(name),
        "change": change,
        "restore": str(current),
        "warnings": [],
    }


def _result(
    outcome: str,
    environment: Environment,
    repositories: Sequence[RepositoryName],
    form: str,
    *,
    change: str,
    generation: int,
    warnings: list[str],
) -> dict[str, Any]:
    named = " and ".join(repository.name for repository in repositories)
    verbs = {
        ("written", True): f"no longer names {named}",
        ("unchanged", True): f"does not name {named}",
        ("written", False): f"now points at {named}",
        ("unchanged", False): f"already points at {named}",
    }
    return {
        "outcome": outcome,
        "message": f"pip.conf of {environment.name.name} {verbs[outcome, form == 'absent']}",
        "environment": str(environment.name),
        "repository": str(repositories[0]),
        "repositories": [str(repository) for repository in repositories],
        "change": change,
        "restore": str(generation),
        "warnings": warnings,
    }
