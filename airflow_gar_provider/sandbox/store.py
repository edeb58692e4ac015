"""What the sandbox remembers: one SQLite file and one folder of blobs per service."""

from __future__ import annotations

import json
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMA = "CREATE TABLE IF NOT EXISTS records (collection TEXT, key TEXT, value BLOB, PRIMARY KEY (collection, key))"


class Store:
    """The records and blobs of one service, under one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.blobs = Blobs(folder / "blobs")
        # Autocommit: a crash loses nothing that was answered. NORMAL is safe against a crash of the process.
        self._database = sqlite3.connect(folder / "records.sqlite3", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(_SCHEMA)

    def collection(self, name: str) -> Collection:
        """A named set of records with JSON or bytes as values."""
        return Collection(self._database, name)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


class Collection:
    """A sorted mapping from resource names to values, kept in the service's database."""

    def __init__(self, database: sqlite3.Connection, name: str) -> None:
        self._database = database
        self._name = name

    def get_bytes(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""
        query = "SELECT value FROM records WHERE collection = ? AND key = ?"
        row = self._database.execute(query, (self._name, key)).fetchone()
        return None if row is None else bytes(row[0])

    def put_bytes(self, key: str, value: bytes) -> None:
        """Write, replacing what was there."""
        query = "INSERT OR REPLACE INTO records (collection, key, value) VALUES (?, ?, ?)"
        self._database.execute(query, (self._name, key, value))

    def get(self, key: str) -> Any:
        """The JSON value under `key`, or None."""
        value = self.get_bytes(key)
        return None if value is None else json.loads(value)

    def put(self, key: str, value: object) -> None:
        """Write a JSON value, replacing what was there."""
        self.put_bytes(key, json.dumps(value, separators=(",", ":")).encode())

    def delete(self, key: str) -> bool:
        """Remove a record; False when there was none."""
        query = "DELETE FROM records WHERE collection = ? AND key = ?"
        return self._database.execute(query, (self._name, key)).rowcount > 0

    def __contains__(self, key: str) -> bool:
        return self.get_bytes(key) is not None

    def items_bytes(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Every (key, bytes) whose key starts with `prefix`, sorted by key."""
        query = "SELECT key, value FROM records WHERE collection = ? AND substr(key, 1, ?) = ? ORDER BY key"
        for key, value in self._database.execute(query, (self._name, len(prefix), prefix)).fetchall():
            yield key, bytes(value)

    def items(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Every (key, JSON value) whose key starts with `prefix`, sorted by key."""
        for key, value in self.items_bytes(prefix):
            yield key, json.loads(value)


class Messages:
    """A collection whose values are protobuf messages of one (proto-plus) type."""

    def __init__(self, collection: Collection, message_type: Any) -> None:
        self._collection = collection
        self._type = message_type

    def get(self, key: str) -> Any:
        """A copy of the message under `key`, or None."""
        value = self._collection.get_bytes(key)
        return None if value is None else self._type.deserialize(value)

    def put(self, key: str, message: Any) -> None:
        """Write a message, replacing what was there."""
        self._collection.put_bytes(key, self._type.serialize(message))

    def delete(self, key: str) -> bool:
        """Remove a message; False when there was none."""
        return self._collection.delete(key)

    def list(self, prefix: str = "") -> list[Any]:
        """Every message whose key starts with `prefix`, sorted by key."""
        return [self._type.deserialize(value) for _, value in self._collection.items_bytes(prefix)]

    def __contains__(self, key: str) -> bool:
        return key in self._collection


class Blobs:
    """Files named by the sandbox: no name from a client ever becomes a path."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def new(self) -> tuple[str, Path]:
        """A fresh blob id and the path to write it to."""
        identifier = secrets.token_hex(16)
        return identifier, self._folder / identifier

    def path(self, identifier: str) -> Path:
        """Where the blob is."""
        return self._folder / identifier

    def delete(self, identifier: str) -> None:
        """Remove a blob."""
        (self._folder / identifier).unlink(missing_ok=True)
