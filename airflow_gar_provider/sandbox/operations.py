"""Long-running operations: one store per service, so that none shows up in another service's list."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from google.longrunning import operations_pb2

from .errors import ApiError
from .faults import take_operation_fault
from .transcoding import unwrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .faults import Fault
    from .store import Store


class Operations:
    """The operations of one service."""

    def __init__(self, store: Store) -> None:
        self._records = store.collection("operations")
        self._faults: dict[str, Fault] = {}

    def start(self, parent: str, metadata: Any) -> Any:
        """A new operation under `parent` (`projects/P/locations/L`)."""
        operation = operations_pb2.Operation(name=f"{parent}/operations/{uuid.uuid4()}")
        operation.metadata.Pack(unwrap(metadata))
        self._put(operation)
        fault = take_operation_fault()
        if fault is not None:
            self._faults[operation.name] = fault
        return operation

    def fault(self, name: str) -> Fault | None:
        """What was queued to go wrong with an operation: it fails, or it never ends."""
        return self._faults.get(name)

    def progress(self, name: str, metadata: Any) -> None:
        """Replace the metadata of a running operation."""
        operation = self.get(name)
        operation.metadata.Pack(unwrap(metadata))
        self._put(operation)

    def finish(self, name: str, metadata: Any, *, response: Any = None, error: ApiError | None = None) -> Any:
        """End an operation with its response or its error, or as its fault wants it."""
        operation = self.get(name)
        fault = self.fault(name)
        if fault is not None and fault.kind == "stuck_operation":
            return operation
        if fault is not None:
            error = error or fault.error()
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
        self._faults.pop(name, None)

    def _put(self, operation: Any) -> None:
        self._records.put_bytes(operation.name, operation.SerializeToString())
