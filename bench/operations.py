"""A stand-in for Composer's operations over gRPC, in a process of its own: nothing else, and as cheap as can be.

The sandbox cannot hold a thousand updates cheaply (each really builds an image). Here every operation is an answer that
was made beforehand, so that what is measured is the client. `.../operations/stats` answers with the calls so far,
`.../operations/end` ends them all.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import sys
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.cloud.orchestration.airflow import service_v1 as composer
from google.longrunning import operations_pb2

PARENT = "projects/acme-data/locations/europe-west1"
HOST = "composer.localhost"
PAGE = 100
_SERVICE = "/google.longrunning.Operations/"


def name_of(number: int) -> str:
    """The name of an operation; 0 is the newest."""
    return f"{PARENT}/operations/{number:08x}-0000-4000-8000-000000000000"


def _operation(number: int, *, done: bool) -> operations_pb2.Operation:
    state = composer.OperationMetadata.State
    created = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc) - datetime.timedelta(seconds=number)
    metadata = composer.OperationMetadata(
        state=state.SUCCEEDED if done else state.RUNNING,
        operation_type=composer.OperationMetadata.Type.UPDATE,
        resource=f"{PARENT}/environments/e{number}",
        create_time=created,
    )
    operation = operations_pb2.Operation(name=name_of(number), done=done)
    operation.metadata.Pack(composer.OperationMetadata.pb(metadata))
    return operation


class Operations(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """`size` operations that run until they are told to end."""

    def __init__(self, size: int) -> None:
        self.calls: dict[str, int] = {}
        self.done = False
        self.single: dict[bool, dict[str, bytes]] = {}
        self.pages: dict[bool, list[bytes]] = {}
        for done in (False, True):
            every = [_operation(number, done=done) for number in range(size)]
            self.single[done] = {operation.name: operation.SerializeToString() for operation in every}
            self.pages[done] = [
                operations_pb2.ListOperationsResponse(
                    operations=every[first : first + PAGE],
                    next_page_token=str(first + PAGE) if first + PAGE < size else "",
                ).SerializeToString()
                for first in range(0, size, PAGE)
            ]

    def service(self, details: Any) -> Any:
        """The handler of a method, on bytes."""
        method = details.method.removeprefix(_SERVICE)
        answers = {"GetOperation": self._get, "ListOperations": self._list}
        return grpc.unary_unary_rpc_method_handler(answers[method]) if method in answers else None

    async def _get(self, request: bytes, _: Any) -> bytes:
        name = operations_pb2.GetOperationRequest.FromString(request).name
        if name.endswith("/stats"):
            answer = operations_pb2.Operation(name=name)
            answer.error.message = json.dumps(self.calls)
            return bytes(answer.SerializeToString())
        if name.endswith("/end"):
            self.done = True
            return b""
        self._count("get")
        return self.single[self.done][name]

    async def _list(self, request: bytes, _: Any) -> bytes:
        self._count("list")
        token = operations_pb2.ListOperationsRequest.FromString(request).page_token
        return self.pages[self.done][int(token or 0) // PAGE]

    def _count(self, kind: str) -> None:
        self.calls[kind] = self.calls.get(kind, 0) + 1


def certificate() -> tuple[bytes, bytes]:
    """A key and a certificate for this run: PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, made.public_bytes(serialization.Encoding.PEM)


async def serve(size: int, folder: Path) -> None:
    """Serve until standard input ends; `folder` gets the certificate, and the port when it is open."""
    key, made = certificate()
    (folder / "ca.pem").write_bytes(made)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Operations(size),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, made)]))
    await server.start()
    (folder / "port.making").write_text(str(port))
    (folder / "port.making").rename(folder / "port")
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
