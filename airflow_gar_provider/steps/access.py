"""Who may read a repository: asked as the account itself where that is allowed, else read from the policy."""

from __future__ import annotations

import logging

from airflow_gar_provider.core.repository import Access, RepositoryName, grant_command, member_of, reads_by
from airflow_gar_provider.errors import AccessDeniedError, GoogleApiError, NotFoundError
from airflow_gar_provider.gcp.cloud import Cloud

log = logging.getLogger(__name__)
READ = "artifactregistry.repositories.downloadArtifacts"


def access_of(cloud: Cloud, repository: RepositoryName, service_account: str) -> Access:
    """Whether a service account may read a repository. Never raises for lack of rights.

    `testIamPermissions` answers for its caller only (IAM documentation, "Test permissions"). So the account is
    impersonated where the caller may (roles/iam.serviceAccountTokenCreator on it): then the answer is `granted` or
    `missing`. Otherwise the repository's own policy is read. That proves `granted`, and never `missing`: a binding
    on the project, a folder, or a group is not seen in it.
    """
    grant = grant_command(repository, member_of(service_account))
    allowed = _ask_as(cloud, repository, service_account)
    if allowed is not None:
        state = "granted" if allowed else "missing"
        return Access(state, f"asked as {service_account}: it may{'' if allowed else ' not'} download from it", grant)
    try:
        policy = cloud.artifact_registry.get_policy(repository)
    except (AccessDeniedError, NotFoundError) as error:
        log.info("the repository's policy cannot be read: %s", error.what)
        return Access("unknown", "the account may not be impersonated, and the repository's policy not be read", grant)
    bindings = [(b.role, list(b.members)) for b in policy.bindings if not b.HasField("condition")]
    if reads_by(bindings, member_of(service_account)):
        return Access("granted", "the repository's own policy says so", grant)
    how = "the account may not be impersonated, and the repository's own policy does not name it (another may)"
    return Access("unknown", how, grant)


def _ask_as(cloud: Cloud, repository: RepositoryName, service_account: str) -> bool | None:
    """What the account may do by its own word; None when it may not be asked."""
    try:
        account = cloud.as_account(service_account)
        # First: gRPC takes credentials that cannot be had for an outage, and would try again for a minute.
        account.session.token()
        return READ in account.artifact_registry.test_permissions(repository, [READ])
    except GoogleApiError as error:
        # Also a 5xx: this look is a help, and the policy is asked next.
        log.info("%s cannot be asked itself: %s", service_account, error.what)
        return None
