"""Cloud Composer's API, v1. An update really builds: pip, with the bucket's pip.conf, as the environment's service
account.

Not played: upgrades (only their checks), workloads, secrets and config maps of workloads, database failover, web server
restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud.orchestration.airflow import service_v1 as composer
from google.cloud.orchestration.airflow.service_v1.services.environments.transports import rest_base
from google.cloud.orchestration.airflow.service_v1.services.image_versions.transports import rest_base as images_rest
from google.longrunning import operations_pb2

from ..dispatch import methods_of
from ..errors import ApiError, permission_denied
from ..paging import page
from ..setup import EnvironmentName
from .composer_updates import check_creation, read_update
from .environments import account_of, following, image_version, python_version, resolved_image_version
from .locations import check_location

if TYPE_CHECKING:
    from ..dispatch import Call, Method
    from ..operations import Operations
    from ..policies import Policies
    from .composer_commands import Commands, Execution
    from .composer_operations import LongRunning
    from .composer_snapshots import Snapshots
    from .composer_work import Work
    from .environments import Environments

HOST = "composer.googleapis.com"
SERVICE = "google.cloud.orchestration.airflow.service.v1"


class Composer:
    """The methods of Environments, ImageVersions and Operations that are played."""

    def __init__(
        self,
        *,
        environments: Environments,
        operations: Operations,
        policies: Policies,
        running: LongRunning,
        work: Work,
        snapshots: Snapshots,
        commands: Commands,
    ) -> None:
        self._environments = environments
        self._operations = operations
        self._policies = policies
        self._running = running
        self._work = work
        self._snapshots = snapshots
        self._commands = commands

    def methods(self) -> list[Method]:
        """Every method of the services, played or not."""
        environments = methods_of(
            f"{SERVICE}.Environments", composer.EnvironmentsClient, rest_base._BaseEnvironmentsRestTransport, self
        )
        images = methods_of(
            f"{SERVICE}.ImageVersions", composer.ImageVersionsClient, images_rest._BaseImageVersionsRestTransport, self
        )
        # Both clients carry the operations methods.
        known = {method.path for method in environments}
        return environments + [method for method in images if method.path not in known]

    def _require(self, call: Call, permission: str, name: str) -> None:
        project = "/".join(name.split("/")[:2])
        text = "The caller does not have permission"
        self._policies.require(call.principal, f"composer.{permission}", project, service=HOST, message=text)

    def _require_act_as(self, call: Call, account: str) -> None:
        project = account.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
        resource = f"projects/{project}/serviceAccounts/{account}"
        if not self._policies.allows(call.principal, "iam.serviceAccounts.actAs", resource):
            text = f"Permission 'iam.serviceaccounts.actAs' denied on service account {account} (or it may not exist)."
            raise permission_denied(text, permission="iam.serviceAccounts.actAs", resource=resource, service=HOST)

    # Environments

    async def create_environment(self, call: Call, request: Any) -> Any:
        """environments.create: an environment on the sandbox's own image; packages come with an update."""
        self._require(call, "environments.create", request.parent)
        check_location(request.parent)
        environment = request.environment
        try:
            name = EnvironmentName.parse(environment.name)
        except ValueError as error:
            raise ApiError("INVALID_ARGUMENT", f"Found 1 problem:\n\t1) {error}") from error
        if not environment.name.startswith(f"{request.parent}/environments/"):
            raise ApiError("INVALID_ARGUMENT", "Found 1 problem:\n\t1) The environment's name is not below the parent.")
        check_creation(environment)
        resolved_image_version(environment.config.software_config.image_version or image_version())
        if self._environments.exists(environment.name):
            raise ApiError("ALREADY_EXISTS", f"Resource '{environment.name}' already exists")
        account = environment.config.node_config.service_account
        if account:
            self._require_act_as(call, account)
        return self._work.create(name, environment)

    async def get_environment(self, call: Call, request: Any) -> Any:
        """environments.get."""
        self._require(call, "environments.get", request.name)
        return self._environments.get(request.name)

    async def list_environments(self, call: Call, request: Any) -> Any:
        """environments.list, per location."""
        self._require(call, "environments.list", request.parent)
        found = self._environments.list(request.parent)
        items, token = page(found, request.page_size, request.page_token)
        return composer.ListEnvironmentsResponse(environments=items, next_page_token=token)

    async def update_environment(self, call: Call, request: Any) -> Any:
        """environments.patch: one kind of change, checked here, done in an operation."""
        environment = self._require_change(call, request.name)
        return self._work.update(environment.name, read_update(environment, request))

    async def check_upgrade(self, call: Call, request: Any) -> Any:
        """environments.checkUpgrade: builds the packages as they are, in the slot of an update; changes nothing.

        The sandbox has one image version, the one of its environments: the answer is about that. Which permission
        Google asks for is not documented; an update's is asked for here.
        """
        self._require(call, "environments.update", request.environment)
        environment = self._environments.get(request.environment)
        self._require_act_as(call, account_of(environment))
        version = resolved_image_version(request.image_version)
        return self._work.check_upgrade(environment.name, version)

    async def delete_environment(self, call: Call, request: Any) -> Any:
        """environments.delete: the bucket stays, as at Google."""
        self._require(call, "environments.delete", request.name)
        environment = self._environments.get(request.name)
        self._require_act_as(call, account_of(environment))
        return self._work.delete(request.name)

    async def save_snapshot(self, call: Call, request: Any) -> Any:
        """environments.saveSnapshot; which permission Google asks for is not documented, an update's is asked for."""
        self._require_change(call, request.environment)
        return self._snapshots.save(request.environment, request.snapshot_location)

    async def load_snapshot(self, call: Call, request: Any) -> Any:
        """environments.loadSnapshot, in one operation with a build."""
        self._require_change(call, request.environment)
        return self._snapshots.load(request.environment, request)

    def _require_change(self, call: Call, name: str) -> Any:
        self._require(call, "environments.update", name)
        environment = self._environments.get(name)
        self._require_act_as(call, account_of(environment))
        following(environment, "update")  # what is wrong with the state comes before what is wrong with the request
        return environment

    # Commands

    async def execute_airflow_command(self, call: Call, request: Any) -> Any:
        """environments.executeAirflowCommand: really runs `airflow`, or one of the reserved commands."""
        self._require(call, "environments.executeAirflowCommand", request.environment)
        self._require_image(request.environment)
        arguments = [request.command, *request.subcommand.split(), *request.parameters]
        execution = self._commands.start(request.environment, [word for word in arguments if word])
        return composer.ExecuteAirflowCommandResponse(
            execution_id=execution, pod="airflow-worker-sandbox", pod_namespace="composer-user-workloads"
        )

    async def poll_airflow_command(self, call: Call, request: Any) -> Any:
        """environments.pollAirflowCommand: the lines from `next_line_number` on."""
        self._require(call, "environments.executeAirflowCommand", request.environment)
        execution = self._execution(request)
        first = max(1, request.next_line_number)
        lines = [
            composer.PollAirflowCommandResponse.Line(line_number=number, content=content)
            for number, content in enumerate(execution.lines, start=1)
            if number >= first
        ]
        ended = execution.exit_code is not None
        answer = composer.PollAirflowCommandResponse(output=lines, output_end=ended)
        if ended:
            error = execution.error
            answer.exit_info = composer.PollAirflowCommandResponse.ExitInfo(exit_code=execution.exit_code, error=error)
        return answer

    async def stop_airflow_command(self, call: Call, request: Any) -> Any:
        """environments.stopAirflowCommand: SIGTERM and some seconds, or SIGKILL with `force`."""
        self._require(call, "environments.executeAirflowCommand", request.environment)
        execution = self._execution(request)
        if execution.exit_code is not None:
            text = f"The command has ended already, with exit code {execution.exit_code}."
        else:
            await self._commands.stop(execution, force=request.force)
            text = f"The command was stopped, with exit code {execution.exit_code}."
        return composer.StopAirflowCommandResponse(is_done=True, output=[text])

    def _execution(self, request: Any) -> Execution:
        self._environments.get(request.environment)
        return self._commands.get(request.environment, request.execution_id)

    def _require_image(self, name: str) -> None:
        """A command needs an environment that was created and is not going away."""
        state = composer.Environment.State(self._environments.get(name).state)
        if state not in {composer.Environment.State.RUNNING, composer.Environment.State.UPDATING}:
            text = f"Cannot execute a command in an environment in state {state.name}."
            raise ApiError("FAILED_PRECONDITION", f"{text} Environment must be in RUNNING state.")

    # Operations and image versions

    async def get_operation(self, call: Call, request: Any) -> Any:
        """operations.get."""
        self._require(call, "operations.get", request.name)
        return self._operations.get(request.name)

    async def list_operations(self, call: Call, request: Any) -> Any:
        """operations.list, newest first; filters are not documented and refused."""
        self._require(call, "operations.list", request.name)
        if request.filter:
            raise ApiError("INVALID_ARGUMENT", "The sandbox does not play filters of operations.list.")
        items, token = page(self._running.newest_first(request.name), request.page_size, request.page_token)
        return operations_pb2.ListOperationsResponse(operations=items, next_page_token=token)

    async def delete_operation(self, call: Call, request: Any) -> Any:
        """operations.delete: forgets a finished operation."""
        self._require(call, "operations.delete", request.name)
        if not self._operations.get(request.name).done:
            raise ApiError("FAILED_PRECONDITION", "Cannot delete an operation that is not done.")
        self._operations.delete(request.name)

    async def list_image_versions(self, call: Call, request: Any) -> Any:
        """imageVersions.list: the one image that this sandbox has."""
        self._require(call, "imageversions.list", request.parent)
        version = composer.ImageVersion(
            image_version_id=image_version(), is_default=True, supported_python_versions=[python_version()]
        )
        return composer.ListImageVersionsResponse(image_versions=[version])
