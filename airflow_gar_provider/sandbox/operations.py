"""Long-running operations: one store per service, so that none shows up in another service's list."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from google.longrunning import operations_pb2

from .errors import ApiError
from .transcoding import unwrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .store import Store


class Operations:
    """The operations of one service."""

    def __init__(self, store: Store) -> None:
        self._records = store.collection("operations")

    def start(self, parent: str, metadata: Any) -> Any:
        """A new operation under `parent` (`projects/P/locations/L`)."""
        operation = operations_pb2.Operation(name=f"{parent}/operations/{uuid.uuid4()}")
        operation.metadata.Pack(unwrap(metadata))
        self._put(operation)
        return operation

    def progress(self, name: str, metadata: Any) -> None:
        """Replace the metadata of a running operation."""
        operation = self.get(name)
        operation.metadata.Pack(unwrap(metadata))
        self._put(operation)

    def finish(self, name: str, metadata: Any, *, response: Any = None, error: ApiError | None = None) -> Any:
        """End an operation with its response or its error."""
        operation = self.get(name)
        operation.done = True
        operation.metadata.Pack(unwrap(metadata))
        if error is not None:
            operation.error.CopyFrom(error.status())
        else:
            operation.response.Pack(unwrap(response))
        self._put(operation)
        return operation

    def get(self, name: str) -> Any:
        """The operation; NOT_FOUND when there is none."""
        stored = self._records.get_bytes(name)
        if stored is None:
            raise ApiError("NOT_FOUND", f"Operation '{name}' was not found.")
        return operations_pb2.Operation.FromString(stored)

    def list(self, parent: str) -> Sequence[Any]:
        """The operations under `parent`."""
        return [
            operations_pb2.Operation.FromString(value)
            for _, value in self._records.items_bytes(f"{parent}/operations/")
        ]

    def everything(self) -> Sequence[Any]:
        """Every operation of the service."""
        return [operations_pb2.Operation.FromString(value) for _, value in self._records.items_bytes()]

    def delete(self, name: str) -> None:
        """Forget a finished operation."""
        self.get(name)
        self._records.delete(name)

    def _put(self, operation: Any) -> None:
        self._records.put_bytes(operation.name, operation.SerializeToString())
