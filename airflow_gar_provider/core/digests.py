"""Hashes of files that may be larger than memory; every function opens the file for itself, so that they may run side
by side: hashlib and zlib leave the interpreter to the other threads while they work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

Opened = Callable[[], BinaryIO]
"""Opens the file anew, at its start."""
Together = Callable[[Sequence[Callable[[], Any]]], list[Any]]
"""Runs jobs, side by side if it can, and returns what they return in their order."""
BLOCK = 1 << 16
"""Bytes that are read at once: zipfile takes half the time that it takes with 128 KiB (measured with `bench`)."""


def in_turn(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """The simplest `Together`: one after the other."""
    return [job() for job in jobs]


def sha256_of(opened: Opened) -> tuple[str, int]:
    """SHA-256 in hexadecimal, and the size in bytes."""
    digest, block = hashlib.sha256(), bytearray(BLOCK)
    view = memoryview(block)
    with opened() as stream:
        while count := stream.readinto(block):  # type: ignore[attr-defined]  # every binary file has it
            digest.update(view[:count])
        return digest.hexdigest(), stream.tell()
