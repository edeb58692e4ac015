"""The sandbox as one object: every service, one port, one private temporary folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvicorn
from uvicorn.server import ServerState

from . import client_environment
from .app import App, Control
from .certificates import Authority, bundle
from .clock import CLOCK
from .faults import Gate
from .hosts import add_hosts
from .id_tokens import IdTokens
from .identity import Identity
from .indexes import Indexes
from .metadata import MetadataServer
from .operations import Operations
from .policies import Policies
from .proxy import Backends, FrontDoor
from .services import builds, logs
from .services.composer_commands import Commands
from .services.composer_operations import LongRunning
from .services.composer_snapshots import Snapshots
from .services.composer_updates import override_variables
from .services.composer_work import Work
from .services.dags import DagsFolders
from .services.environments import Environments
from .services.reality import Reality
from .services.registry import Registry
from .services.storage_objects import Buckets
from .setup import Setup
from .status import summary
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .services.reality import Airflow, Images

_SERVICES = ("iam", "artifact_registry", "storage", "composer", "logging", "secret_manager")
_MESSAGE_LIMIT = 64 << 20


class Sandbox:
    """A pretend Google. `start`, use `environment()` for clients, `stop`."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        data_dir: Path | None = None,
        port: int = 0,
        caller: str | None = None,
        setup: Setup | None = None,
        allow_hosts: tuple[str, ...] = (),
        public_index: Path | None = None,
        images: Images | None = None,
        make_airflow: Callable[[Path, Mapping[str, str], bool], Airflow] | None = None,
    ) -> None:
        self._own_environment = dict(environment)
        self._wanted_port = port
        self._setup = setup or Setup()
        project = next(iter(self._setup.projects), "sandbox-project")
        self.project = next(iter(self._setup.projects), None)
        self.caller = caller or f"caller@{project}.iam.gserviceaccount.com"
        # Short: the path of a Unix socket ends at 107 characters.
        self._private = Path(tempfile.mkdtemp(prefix="gar-"))
        self._data = data_dir or self._private / "data"
        self._images = images
        self.public_index = public_index
        self._make_airflow = make_airflow
        self.gate = Gate()
        self.indexes = Indexes(allow_hosts)
        self._grpc: dict[str, tuple[Any, Path]] = {}
        self._grpc_lock = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self.port = 0
        self._build()

    # Composition

    def _build(self) -> None:
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.stores = {name: Store(self._data / name) for name in _SERVICES}
        self.identity = Identity(self.stores["iam"])
        self.gate.revoke_tokens = self.identity.revoke_tokens
        self.policies = Policies(self.stores["iam"])
        self.policies.account_exists = self.identity.account_exists
        self.id_tokens = IdTokens(self.identity)
        self.metadata = MetadataServer(self.identity, self.id_tokens, self.caller, self.project or "")
        self._own_app()
        self.buckets = Buckets(self.stores["storage"], self.policies)
        self.registry = Registry(self.stores["artifact_registry"])
        self.logs = logs.Logs(self.stores["logging"])
        self.environments = Environments(self.stores["composer"])
        self.operations = Operations(self.stores["composer"])
        self.ca_file = self._private / "ca.pem"
        self.authority = Authority(self._private)
        self.ca_file.write_bytes(bundle(self.authority.certificate, self._own_environment))
        self.reality = Reality(
            self._images or client_environment.real_images(),
            self._airflow,
            self.identity,
            port=lambda: self.port,
            ca_file=self.ca_file,
        )
        self.running = LongRunning(self.operations, self.environments, self.app.bug)
        self.builds = builds.BuildRecords(self.stores["logging"])
        self.work = Work(
            environments=self.environments,
            running=self.running,
            buckets=self.buckets,
            policies=self.policies,
            identity=self.identity,
            logs=self.logs,
            builds=self.builds,
            reality=self.reality,
        )
        self.snapshots = Snapshots(
            environments=self.environments,
            running=self.running,
            work=self.work,
            buckets=self.buckets,
            policies=self.policies,
        )
        self.dags = DagsFolders(self.environments, self.buckets)
        self.commands = Commands(self.environments, self.reality, self.dags, self.app.bug)
        self._apis = add_hosts(self)

    def _own_app(self) -> None:
        control = Control(
            self.gate,
            self.identity,
            self.metadata,
            bugs=lambda: self.app.bugs,
            refused=lambda: self._backends.refused,
            setup=self._set_up_json,
            status=lambda: summary(self),
            environment=lambda: variables_of(self),
            time=self._time,
        )
        self.app = App(control.answer)

    def _airflow(self, name: str) -> Airflow:
        """The Airflow of one environment: it is the environment's service account to Google's clients inside it."""
        environment = self.environments.get(name)
        _, project, _, location, _, identifier = name.split("/")
        account = environment.config.node_config.service_account
        variables = {
            **client_environment.google_variables(self.port, self.ca_file),
            **dict(environment.config.software_config.env_variables),
            **override_variables(environment.config.software_config.airflow_config_overrides),
            "GCP_PROJECT": project,
            "GOOGLE_CLOUD_PROJECT": project,
            "GCS_BUCKET": environment.storage_config.bucket,
            "COMPOSER_LOCATION": location,
            "COMPOSER_ENVIRONMENT": identifier,
            "COMPOSER_PYTHON_VERSION": "3",
        }
        place = f"127.0.0.1:{self.port}{self.metadata.prefix(account, project)}"
        variables.update({"GCE_METADATA_HOST": place, "GCE_METADATA_IP": place})
        make = self._make_airflow or client_environment.real_airflow
        return make(self.environments.folder(name), variables, self.environments.inner(name).processes)

    # Life

    async def start(self) -> None:
        """Listen, end what an earlier process left unfinished, and create what shall exist."""
        config = uvicorn.Config(
            self.app, lifespan="off", log_config=None, access_log=False, server_header=False, timeout_keep_alive=120
        )
        config.load()
        state = ServerState()
        self._backends = Backends(
            config,
            state,
            plays=self.app.plays,
            context=self.authority.context,
            grpc_socket=self._grpc_socket,
            tunnels=self.indexes.tunnels,
            proxy_account=self.identity.proxy_account,
        )
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: FrontDoor(self._backends), "127.0.0.1", self._wanted_port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.running.recover()
        await self.set_up(self._setup)

    async def _grpc_socket(self, host: str) -> Path | None:
        """The gRPC server of one API, started with its first client: one per host, as hosts share method names."""
        api = self._apis.get(host)
        if api is None:
            return None
        async with self._grpc_lock:
            if host not in self._grpc:
                path = self._private / f"g{len(self._grpc)}"
                limits = [("grpc.max_receive_message_length", _MESSAGE_LIMIT)]
                server = grpc.aio.server(options=limits)
                server.add_generic_rpc_handlers((api,))
                server.add_insecure_port(f"unix:{path}")
                await server.start()
                self._grpc[host] = (server, path)
        return self._grpc[host][1]

    async def stop(self) -> None:
        """End every child, close every connection, remove the private folder."""
        if self._server is not None:
            self._server.close()
        await self.running.close()
        await self.commands.close()
        await self.reality.close()
        for server, _ in self._grpc.values():
            await server.stop(grace=0)
        if self._server is not None:
            for transport in list(self._backends.transports):
                getattr(transport, "abort", transport.close)()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 2)
        for store in self.stores.values():
            store.close()
        shutil.rmtree(self._private, ignore_errors=True)

    # Set-up

    async def set_up(self, setup: Setup) -> dict[str, Any]:
        """Create what is missing of a set-up; answers with the environments' names and buckets."""
        for project in setup.projects:
            self.identity.add_project(project)
        named = {grant.member.partition(":")[2] for grant in self._setup.grants}
        for email in (self.caller, *setup.accounts):
            if email.endswith(".iam.gserviceaccount.com"):
                self.identity.add_account(email)
        for project in setup.projects:
            # An owner of everything, unless somebody said what the caller may.
            if self.caller not in named and not self.policies.has_bindings(f"projects/{project}", f"{self._member}"):
                self.policies.grant(f"projects/{project}", "roles/owner", self._member)
        for name in setup.environments:
            if not self.environments.exists(str(name)):
                await self.work.create_now(name)
        for name in setup.processes:
            self.environments.set_processes(str(name))
        for project, bucket in setup.buckets:
            if not self.buckets.has_bucket(bucket):
                record = self.identity.project(project) or {}
                self.buckets.add_bucket(project, bucket, number=record["projectNumber"], settings={})
        self._grant(setup)
        found = [self.environments.get(str(name)) for name in setup.environments]
        return {"environments": {item.name: item.storage_config.bucket for item in found}}

    def _grant(self, setup: Setup) -> None:
        for grant in setup.grants:
            place = grant.resource
            if "/buckets/" in place:
                place = f"buckets/{place.rpartition('/')[2]}"
            email = grant.member.partition(":")[2]
            if not self.identity.account_exists(email):
                self.identity.add_account(email)
            self.policies.grant(place, grant.role, grant.member)

    @property
    def _member(self) -> str:
        kind = "serviceAccount" if self.caller.endswith("gserviceaccount.com") else "user"
        return f"{kind}:{self.caller}"

    async def _time(self, value: object) -> object:
        """Show the clock; set or move it before, when there is a value."""
        step = CLOCK.configure(value) if value is not None else None
        if step is not None:
            await self.running.advance(step)
        return CLOCK.json()

    async def _set_up_json(self, value: object) -> object:
        return await self.set_up(Setup.from_json(value))

    def environment(self) -> dict[str, str]:
        """The environment variables of a client: Google is here."""
        variables = client_environment.google_variables(self.port, self.ca_file)
        place = f"127.0.0.1:{self.port}"
        config = self._private / "gcloud"
        config.mkdir(exist_ok=True)
        variables.update({"GCE_METADATA_HOST": place, "GCE_METADATA_IP": place, "GCE_METADATA_ROOT": place})
        variables.update({"CLOUDSDK_CONFIG": str(config), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"})
        variables.update(
            {
                "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
                "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
                "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "1",
            }
        )
        if self.project is not None:
            variables.update({"GOOGLE_CLOUD_PROJECT": self.project, "CLOUDSDK_CORE_PROJECT": self.project})
        return variables


def variables_of(sandbox: Sandbox) -> dict[str, Any]:
    """What a client needs in its environment, and what must not be there."""
    return {"port": sandbox.port, "env": sandbox.environment(), "unset": list(client_environment.UNSET)}


def ready_line(sandbox: Sandbox) -> str:
    """The line that `serve` prints when it is ready."""
    return json.dumps(variables_of(sandbox))
