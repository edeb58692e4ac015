"""What exists when the sandbox starts: projects, environments, buckets, grants, as options or as JSON give it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .roles import ROLES

_ENVIRONMENT = re.compile(r"projects/([^/]+)/locations/([^/]+)/environments/([^/]+)")
_GRANT = re.compile(r"([^=]+)=(roles/[^@]+)@(.+)")
_RESOURCE = re.compile(
    r"projects/[^/]+(/locations/[^/]+/repositories/[^/]+|/serviceAccounts/[^/]+|/buckets/[^/]+|/secrets/[^/]+)?"
)
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


@dataclass(frozen=True)
class Grant:
    """One member gets one role on one resource."""

    member: str
    """As IAM writes it: `serviceAccount:EMAIL`, `user:EMAIL`."""
    role: str
    """`roles/…`."""
    resource: str
    """`projects/P`, a repository, or below a project `serviceAccounts/EMAIL`, `buckets/B`, `secrets/S`."""

    @classmethod
    def parse(cls, text: str) -> Grant:
        """Read `MEMBER=ROLE@RESOURCE`; ValueError says what is wrong."""
        match = _GRANT.fullmatch(text)
        if match is None or not _RESOURCE.fullmatch(match.group(3)):
            raise ValueError(
                f"{text!r}: a grant is MEMBER=ROLE@RESOURCE, where RESOURCE is projects/P, "
                "projects/P/locations/L/repositories/R, projects/P/serviceAccounts/EMAIL, projects/P/buckets/B or "
                "projects/P/secrets/S."
            )
        member, role, resource = match.groups()
        if role not in ROLES:
            raise ValueError(
                f"{text!r}: the sandbox does not know the role {role}. It knows: {', '.join(sorted(ROLES))}."
            )
        if ":" not in member and "@" in member:
            kind = "serviceAccount" if member.endswith("gserviceaccount.com") else "user"
            member = f"{kind}:{member}"
        return cls(member, role, resource)


@dataclass(frozen=True)
class EnvironmentName:
    """`projects/P/locations/L/environments/E` in its parts."""

    project: str
    """The project id."""
    location: str
    """The region."""
    environment: str
    """The environment's id."""

    @classmethod
    def parse(cls, text: str) -> EnvironmentName:
        """Read the full name; ValueError says what is wrong."""
        match = _ENVIRONMENT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not of the form projects/P/locations/L/environments/E.")
        return cls(_project(match.group(1)), match.group(2), match.group(3))

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/environments/{self.environment}"


@dataclass(frozen=True)
class Setup:
    """Everything that is to exist. Nothing is taken away from what does already."""

    projects: tuple[str, ...] = ()
    """Project ids; the projects of environments and buckets come on their own."""
    environments: tuple[EnvironmentName, ...] = ()
    """Environments to have, RUNNING."""
    buckets: tuple[tuple[str, str], ...] = ()
    """(project, bucket name)."""
    grants: tuple[Grant, ...] = ()
    """Roles to give."""
    accounts: tuple[str, ...] = ()
    """Service accounts to create."""
    processes: tuple[EnvironmentName, ...] = ()
    """Those of the environments that have a scheduler and a triggerer of their own."""

    @classmethod
    def from_json(cls, value: Any) -> Setup:
        """Read an object with the lists `projects`, `environments`, `processes`, `buckets`, `grants` and `accounts`."""
        known = {"projects", "processes", "environments", "buckets", "grants", "accounts"}
        if not isinstance(value, dict) or set(value) - known:
            raise ValueError(f"A set-up is an object with the lists {', '.join(sorted(known))}.")
        return cls.from_texts(**{name: tuple(map(str, value.get(name, ()))) for name in known})

    @classmethod
    def from_texts(
        cls,
        *,
        projects: tuple[str, ...] = (),
        environments: tuple[str, ...] = (),
        processes: tuple[str, ...] = (),
        buckets: tuple[str, ...] = (),
        grants: tuple[str, ...] = (),
        accounts: tuple[str, ...] = (),
    ) -> Setup:
        """Read the options as the command line has them; ValueError says what is wrong."""
        names = tuple(EnvironmentName.parse(text) for text in dict.fromkeys((*environments, *processes)))
        pairs = tuple(_bucket(text) for text in buckets)
        given = tuple(Grant.parse(text) for text in grants)
        every = [
            *(_project(text) for text in projects),
            *(name.project for name in names),
            *(pair[0] for pair in pairs),
        ]
        every.extend(grant.resource.split("/")[1] for grant in given)
        return cls(
            tuple(dict.fromkeys(every)),
            names,
            pairs,
            given,
            accounts,
            tuple(EnvironmentName.parse(text) for text in processes),
        )


def _project(text: str) -> str:
    if not _PROJECT.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a project id: 6 to 30 lower-case letters, digits and hyphens, a letter first."
        )
    return text


def _bucket(text: str) -> tuple[str, str]:
    project, _, name = text.partition("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", name):
        raise ValueError(f"{text!r} is not of the form PROJECT/BUCKET.")
    return _project(project), name
