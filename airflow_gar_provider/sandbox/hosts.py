"""Which host is played by what: Google's APIs, the package index, Cloud Storage, the environments' web servers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .dispatch import ProtoApi
from .jsonapi import JsonApi
from .services import (
    airflow_web,
    artifact_registry,
    builds,
    composer,
    iam,
    logs,
    package_index,
    projects,
    secret_manager,
    service_usage,
    storage,
    tokens,
)
from .services.upstreams import Upstreams

if TYPE_CHECKING:
    from .server import Sandbox
    from .web import Answer, Request


def add_hosts(box: Sandbox) -> dict[str, ProtoApi]:
    """Give every host its answers; returns those that are served as gRPC, too."""
    apis = _proto_apis(box)
    for host, api in apis.items():
        box.app.add(re.compile(re.escape(host)), api.rest)
    token_api = tokens.Tokens(box.identity, box.policies, box.id_tokens)
    for host, routes in (
        (iam.IAM_HOST, iam.Iam(box.identity, box.policies).routes()),
        (builds.HOST, builds.Builds(box.builds, box.identity, box.policies).routes()),
        (service_usage.HOST, service_usage.ServiceUsage(box.stores["iam"], box.identity, box.policies).routes()),
        (projects.PROJECTS_HOST, projects.Projects(box.identity, box.policies).routes()),
        (tokens.CREDENTIALS_HOST, token_api.credentials_routes()),
        (tokens.ENDPOINT_HOST, token_api.endpoint_routes()),
    ):
        box.app.add(re.compile(re.escape(host)), JsonApi(host, routes, box.gate, box.identity).answer)
    _add_plain_hosts(box, JsonApi(storage.WEB_HOST, token_api.certificate_routes(), box.gate, box.identity))
    return apis


def _proto_apis(box: Sandbox) -> dict[str, ProtoApi]:
    """The APIs that are played on protobuf types."""
    registry_api = artifact_registry.ArtifactRegistry(box.stores["artifact_registry"], box.registry, box.policies)
    composer_api = composer.Composer(
        environments=box.environments,
        operations=box.operations,
        policies=box.policies,
        running=box.running,
        work=box.work,
        snapshots=box.snapshots,
        commands=box.commands,
    )
    download = "/v1/{name=projects/*/locations/*/repositories/*/files/*}:download"
    media = {f"{artifact_registry.SERVICE}.DownloadFile GET {download}": registry_api.download_file}
    secrets = secret_manager.SecretManager(box.stores["secret_manager"], box.policies, box.identity)
    return {
        host: ProtoApi(host, methods, box.gate, box.identity, box.app.bug, extra)
        for host, methods, extra in (
            (artifact_registry.HOST, registry_api.methods(), media),
            (composer.HOST, composer_api.methods(), {}),
            (logs.HOST, logs.Logging(box.logs, box.policies).methods(), {}),
            (secret_manager.HOST, secrets.methods(), {}),
        )
    }


def _add_plain_hosts(box: Sandbox, certificates: JsonApi) -> None:
    """The package index, Cloud Storage, and the Airflow web servers: plain HTTP apps."""
    upstreams = Upstreams(box.registry, box.indexes, box.ca_file, box.public_index)
    index = package_index.PackageIndex(box.registry, box.policies, box.identity, box.gate, upstreams)
    box.app.add(package_index.HOST, index.answer)
    objects = storage.Storage(box.buckets, box.policies, box.identity, box.gate)

    async def answer_web(request: Request) -> Answer:
        """www.googleapis.com serves Cloud Storage under its old name, and certificates."""
        return await (certificates if request.path.startswith("/oauth2/") else objects).answer(request)

    box.app.add(re.compile(re.escape(storage.WEB_HOST)), answer_web)
    box.app.add(storage.HOST, objects.answer)
    web = airflow_web.AirflowWeb(
        environments=box.environments,
        reality=box.reality,
        dags=box.dags,
        policies=box.policies,
        identity=box.identity,
        gate=box.gate,
    )
    box.app.add(airflow_web.HOST, web.answer)
