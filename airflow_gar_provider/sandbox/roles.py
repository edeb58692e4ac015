"""Google's roles: which permissions each one carries, for the services that the sandbox plays.

Source: the IAM roles and permissions reference. A trailing `*` stands for every permission with that beginning.
The basic roles carry everything of the services here except what `EXCLUDED` takes away: an owner may not mint
another account's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Role:
    """What one role allows."""

    permissions: tuple[str, ...]
    """Permissions; `artifactregistry.*` is every permission of the service."""
    excluded: tuple[str, ...] = ()
    """Permissions that a `*` above does not include."""

    def allows(self, permission: str) -> bool:
        """True when the role carries `permission`."""
        if any(_matches(pattern, permission) for pattern in self.excluded):
            return False
        return any(_matches(pattern, permission) for pattern in self.permissions)


def _matches(pattern: str, permission: str) -> bool:
    if pattern.startswith("*."):
        return permission.endswith(pattern[1:])
    return permission.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == permission


_TOKENS = (
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.getOpenIdToken",
    "iam.serviceAccounts.implicitDelegation",
    "iam.serviceAccounts.signBlob",
    "iam.serviceAccounts.signJwt",
)
_AR_READER = (
    *(
        f"artifactregistry.{kind}.{verb}"
        for kind in ("files", "packages", "pythonpackages", "repositories", "rules")
        for verb in ("get", "list")
    ),
    *(
        f"artifactregistry.{kind}.{verb}"
        for kind in ("locations", "tags", "versions", "attachments")
        for verb in ("get", "list")
    ),
    "artifactregistry.files.download",
    "artifactregistry.projectsettings.get",
    "artifactregistry.repositories.downloadArtifacts",
    "artifactregistry.repositories.readViaVirtualRepository",
)
_AR_WRITER = (
    *_AR_READER,
    "artifactregistry.files.update",
    "artifactregistry.files.upload",
    "artifactregistry.packages.update",
    "artifactregistry.repositories.uploadArtifacts",
    "artifactregistry.tags.create",
    "artifactregistry.tags.update",
    "artifactregistry.versions.update",
)
_AR_REPO_ADMIN = (
    *_AR_WRITER,
    "artifactregistry.files.delete",
    "artifactregistry.packages.delete",
    "artifactregistry.repositories.deleteArtifacts",
    "artifactregistry.tags.delete",
    "artifactregistry.versions.delete",
)
_COMPOSER_USER = (
    "composer.dags.*",
    "composer.environments.get",
    "composer.environments.list",
    "composer.imageversions.list",
    "composer.operations.get",
    "composer.operations.list",
    "resourcemanager.projects.get",
)
_OBJECT_VIEWER = ("storage.objects.get", "storage.objects.list", "resourcemanager.projects.get")
_OBJECT_ADMIN = ("storage.objects.*", "storage.multipartUploads.*", "resourcemanager.projects.get")
_WORKER = (
    *_AR_REPO_ADMIN,
    "artifactregistry.repositories.create",
    "artifactregistry.repositories.getIamPolicy",
    "artifactregistry.repositories.setIamPolicy",
    "composer.environments.get",
    "logging.logEntries.create",
    "logging.logEntries.list",
    "resourcemanager.projects.get",
    "storage.buckets.get",
    "storage.buckets.list",
    "storage.objects.*",
)

ROLES: Mapping[str, Role] = {
    "roles/owner": Role(("*",), _TOKENS),
    "roles/editor": Role(
        ("*",),
        (
            *_TOKENS,
            "*.setIamPolicy",
            "iam.serviceAccountKeys.*",
            "resourcemanager.projects.delete",
            "secretmanager.versions.access",
        ),
    ),
    "roles/viewer": Role(
        ("*.get", "*.list", "*.getIamPolicy", *_AR_READER),
        (*_TOKENS, "storage.objects.*", "secretmanager.versions.access"),
    ),
    "roles/artifactregistry.reader": Role(_AR_READER),
    "roles/artifactregistry.writer": Role(_AR_WRITER),
    "roles/artifactregistry.repoAdmin": Role(_AR_REPO_ADMIN),
    "roles/artifactregistry.admin": Role(("artifactregistry.*",)),
    "roles/composer.user": Role(_COMPOSER_USER),
    "roles/composer.admin": Role(("composer.*", "resourcemanager.projects.get")),
    "roles/composer.environmentAndStorageObjectAdmin": Role(("composer.*", *_OBJECT_ADMIN)),
    "roles/composer.environmentAndStorageObjectUser": Role((*_COMPOSER_USER, *_OBJECT_VIEWER)),
    "roles/composer.environmentAndStorageObjectViewer": Role((*_COMPOSER_USER, *_OBJECT_VIEWER)),
    "roles/composer.worker": Role(_WORKER),
    "roles/composer.ServiceAgentV2Ext": Role(("iam.serviceAccounts.getIamPolicy", "iam.serviceAccounts.setIamPolicy")),
    "roles/storage.objectViewer": Role(_OBJECT_VIEWER),
    "roles/storage.objectCreator": Role(("storage.objects.create", "resourcemanager.projects.get")),
    "roles/storage.objectUser": Role(
        ("storage.objects.*", "resourcemanager.projects.get"), ("storage.objects.setIamPolicy",)
    ),
    "roles/storage.objectAdmin": Role(_OBJECT_ADMIN),
    "roles/storage.admin": Role(("storage.*", "resourcemanager.projects.get")),
    "roles/storage.bucketViewer": Role(("storage.buckets.get", "storage.buckets.list")),
    "roles/storage.legacyBucketReader": Role(("storage.buckets.get", "storage.objects.list")),
    "roles/storage.legacyObjectReader": Role(("storage.objects.get",)),
    "roles/logging.viewer": Role(("logging.logEntries.list", "logging.logs.list", "resourcemanager.projects.get")),
    "roles/logging.logWriter": Role(("logging.logEntries.create",)),
    "roles/iam.serviceAccountUser": Role(
        (
            "iam.serviceAccounts.actAs",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
        )
    ),
    "roles/iam.serviceAccountTokenCreator": Role((*_TOKENS, "iam.serviceAccounts.get", "iam.serviceAccounts.list")),
    "roles/iam.serviceAccountViewer": Role(
        (
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccountKeys.get",
        )
    ),
    "roles/iam.serviceAccountKeyAdmin": Role(
        (
            "iam.serviceAccountKeys.*",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
        )
    ),
    "roles/iam.serviceAccountAdmin": Role(
        (
            *tuple(
                f"iam.serviceAccounts.{verb}"
                for verb in ("create", "delete", "disable", "enable", "get", "list", "update")
            ),
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.setIamPolicy",
            "resourcemanager.projects.get",
        )
    ),
    "roles/iam.securityReviewer": Role(("*.getIamPolicy", "*.list")),
    "roles/iam.securityAdmin": Role(("*.getIamPolicy", "*.setIamPolicy", "*.list")),
    "roles/resourcemanager.projectIamAdmin": Role(
        (
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "resourcemanager.projects.setIamPolicy",
        )
    ),
    "roles/browser": Role(
        ("resourcemanager.projects.get", "resourcemanager.projects.list", "resourcemanager.projects.getIamPolicy")
    ),
    "roles/secretmanager.secretAccessor": Role(("secretmanager.versions.access", "resourcemanager.projects.get")),
    "roles/secretmanager.secretVersionAdder": Role(("secretmanager.versions.add", "resourcemanager.projects.get")),
    "roles/secretmanager.viewer": Role(
        (
            *(f"secretmanager.{kind}.{verb}" for kind in ("secrets", "versions") for verb in ("get", "list")),
            "secretmanager.secrets.getIamPolicy",
            "resourcemanager.projects.get",
        )
    ),
    "roles/secretmanager.admin": Role(("secretmanager.*", "resourcemanager.projects.get")),
}
