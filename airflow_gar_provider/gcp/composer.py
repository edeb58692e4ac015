"""Cloud Composer, over gRPC.

Never through the generated REST transport: its FieldMask turns `pypi_packages.acme_utils` into `acmeUtils`, and refuses
`My_Pkg` (tried with google-cloud-orchestration-airflow 1.23).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property

from google.api_core import exceptions as api
from google.cloud.orchestration.airflow import service_v1 as composer
from google.longrunning import operations_pb2
from google.protobuf import field_mask_pb2

from airflow_gar_provider.core.environment import Environment, EnvironmentName, Patch
from airflow_gar_provider.core.operation import Operation
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.errors import GoogleApiError
from airflow_gar_provider.gcp.grpc_client import grpc_client
from airflow_gar_provider.gcp.session import CALL_TIMEOUT, RETRY, Session, google_errors

_COMMAND_TIMEOUT = 300.0
"""Seconds that `list-packages` may take in the environment."""


class Composer:
    """One identity's view of Composer. Errors: see `gcp.session.google_errors`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def _client(self) -> composer.EnvironmentsClient:
        return grpc_client(composer.EnvironmentsClient, self._session)

    def get_environment(self, name: EnvironmentName) -> Environment:
        """The environment. Raises NotFoundError when there is none."""
        with google_errors(
            "look at the environment",
            resource=str(name),
            remedy="look at its name, project and location; the caller needs composer.environments.get "
            "(roles/composer.admin or roles/composer.user)",
        ):
            return _environment(self._client.get_environment(name=str(name), retry=RETRY, timeout=CALL_TIMEOUT))

    def list_environments(self, parent: str) -> list[Environment]:
        """All environments of a location (`projects/P/locations/L`)."""
        with google_errors(
            "list environments",
            resource=parent,
            remedy="the caller needs composer.environments.list (roles/composer.user)",
        ):
            request = composer.ListEnvironmentsRequest(parent=parent, page_size=1000)
            found = self._client.list_environments(request, retry=RETRY, timeout=CALL_TIMEOUT)
            return [_environment(environment) for environment in found]

    def image_versions(self, parent: str) -> dict[str, tuple[str, ...]]:
        """The images of a location (`projects/P/locations/L`) and their Pythons, past releases included.

        The same for every environment of the location: for many environments, ask once.
        """
        with google_errors(
            "list Composer's image versions",
            resource=parent,
            remedy="the caller needs composer.imageversions.list (roles/composer.user)",
        ):
            client = grpc_client(composer.ImageVersionsClient, self._session)
            request = composer.ListImageVersionsRequest(parent=parent, page_size=1000, include_past_releases=True)
            found = client.list_image_versions(request, retry=RETRY, timeout=CALL_TIMEOUT)
            return {image.image_version_id: tuple(image.supported_python_versions) for image in found}

    def update_packages(self, name: EnvironmentName, patch: Patch) -> Operation:
        """Begin an update of the package list. An environment that is UPDATING answers FAILED_PRECONDITION."""
        software = composer.SoftwareConfig(pypi_packages=dict(patch.set))
        environment = composer.Environment(name=str(name), config=composer.EnvironmentConfig(software_config=software))
        with google_errors(
            "update the environment's packages",
            resource=str(name),
            remedy="the caller needs composer.environments.update and, on the environment's service account, "
            "iam.serviceAccounts.actAs (roles/iam.serviceAccountUser)",
        ):
            begun = self._client.update_environment(
                name=str(name),
                environment=environment,
                update_mask=field_mask_pb2.FieldMask(paths=list(patch.mask)),
                timeout=CALL_TIMEOUT,
            )
        return _operation(begun.operation)

    def get_operation(self, name: str) -> Operation:
        """The operation as it is now. Raises NotFoundError when Composer has forgotten it."""
        with google_errors("look at the operation", resource=name):
            request = operations_pb2.GetOperationRequest(name=name)
            return _operation(self._client.get_operation(request, retry=RETRY, timeout=CALL_TIMEOUT))

    def list_operations(self, environment: EnvironmentName) -> Iterator[Operation]:
        """Operations of one environment, newest first (the API's filter is not documented: filtered here)."""
        page_token = ""
        while True:
            page, page_token = self.operations_page(environment.parent, page_token)
            yield from (found for found in page if found.resource == str(environment))
            if not page_token:
                return

    def operations_page(self, parent: str, page_token: str = "") -> tuple[list[Operation], str]:
        """One page of a location's operations, newest first, and the token of the next one; empty for the last."""
        with google_errors("list operations", resource=parent, remedy="the caller needs composer.operations.list"):
            request = operations_pb2.ListOperationsRequest(name=parent, page_size=100, page_token=page_token)
            page = self._client.list_operations(request, retry=RETRY, timeout=CALL_TIMEOUT)
            return [_operation(found) for found in page.operations], page.next_page_token

    def pip_list(self, name: EnvironmentName) -> str:
        """What `pip list` prints in the environment, asked as `gcloud composer environments list-packages` asks."""
        return self._list_packages(name, "pip list")

    def pip_tree(self, name: EnvironmentName) -> str:
        """What `pipdeptree` prints there: what each package requires (`list-packages --tree`)."""
        return self._list_packages(name, "pipdeptree")

    def _list_packages(self, name: EnvironmentName, subcommand: str) -> str:
        with google_errors(
            "list the packages that are installed in the environment",
            resource=str(name),
            remedy="the caller needs composer.environments.executeAirflowCommand",
        ):
            command = composer.ExecuteAirflowCommandRequest(
                environment=str(name), command="list-packages", subcommand=subcommand
            )
            # Listing changes nothing: it may be begun twice.
            begun = self._client.execute_airflow_command(command, retry=RETRY, timeout=CALL_TIMEOUT)
            if begun.error:
                raise GoogleApiError(f"could not list installed packages: {redact(begun.error)}", resource=str(name))
            return self._output(name, begun)

    def _output(self, name: EnvironmentName, begun: composer.ExecuteAirflowCommandResponse) -> str:
        lines: list[str] = []
        deadline, wait = time.monotonic() + _COMMAND_TIMEOUT, 1.0
        while True:
            poll = composer.PollAirflowCommandRequest(
                environment=str(name),
                execution_id=begun.execution_id,
                pod=begun.pod,
                pod_namespace=begun.pod_namespace,
                next_line_number=len(lines) + 1,
            )
            answer = self._client.poll_airflow_command(poll, retry=RETRY, timeout=CALL_TIMEOUT)
            lines += [line.content for line in answer.output]
            if answer.output_end:
                break
            if time.monotonic() > deadline:
                raise api.DeadlineExceeded("the command did not end in time")
            time.sleep(wait)
            wait = min(wait * 1.5, 10.0)
        if answer.exit_info.exit_code:
            text = answer.exit_info.error or "\n".join(lines[-5:])
            raise GoogleApiError(f"the list of packages failed in the environment: {redact(text)}", resource=str(name))
        return "\n".join(lines)


def _environment(found: composer.Environment) -> Environment:
    config = found.config
    # The bucket is missing in `storage_config` of old environments; gcloud reads the DAG prefix.
    bucket = found.storage_config.bucket or config.dag_gcs_prefix.removeprefix("gs://").split("/")[0]
    return Environment(
        name=EnvironmentName.parse(found.name),
        state=found.state.name,
        bucket=bucket,
        service_account=config.node_config.service_account,
        airflow_uri=config.airflow_uri,
        image_version=config.software_config.image_version,
        packages=dict(config.software_config.pypi_packages),
        labels=dict(found.labels),
    )


def _operation(found: operations_pb2.Operation) -> Operation:
    metadata = composer.OperationMetadata()
    if found.metadata.value:
        metadata = composer.OperationMetadata.deserialize(found.metadata.value)
    return Operation(
        name=found.name,
        resource=metadata.resource,
        kind=metadata.operation_type.name,
        state=metadata.state.name,
        done=found.done,
        error_code=found.error.code,
        error_message=found.error.message,
        created=metadata.create_time or None,
        ended=metadata.end_time or None,
    )
