"""Pages of a list: `page_size`, `page_token` and `order_by`, as every Google list method has them."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")


def page(
    items: Sequence[Item], size: int, token: str, *, default: int = 100, maximum: int = 1000
) -> tuple[list[Item], str]:
    """One page of `items` and the token of the next one ("" at the end)."""
    if size < 0:
        raise ApiError("INVALID_ARGUMENT", "page_size must not be negative.")
    start = _offset(token)
    end = start + min(size or default, maximum)
    following = base64.urlsafe_b64encode(f"offset:{end}".encode()).decode() if end < len(items) else ""
    return list(items[start:end]), following


def _offset(token: str) -> int:
    if not token:
        return 0
    try:
        word, _, number = base64.urlsafe_b64decode(token).decode().partition(":")
        if word != "offset":
            raise ValueError(word)
        if not number.isascii() or not number.isdecimal() or len(number) > 18:
            raise ValueError(number)
        return int(number)
    except (ValueError, binascii.Error) as error:
        raise ApiError("INVALID_ARGUMENT", "Invalid page token.") from error


def ordered(items: list[Item], order_by: str, fields: dict[str, Callable[[Item], Any]]) -> list[Item]:
    """`items` sorted by an `order_by` such as `update_time desc`; `fields` names what can be ordered by."""
    result = list(items)
    for clause in reversed([part.strip() for part in order_by.split(",") if part.strip()]):
        name, _, direction = clause.partition(" ")
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        if snake not in fields or direction.strip().lower() not in {"", "asc", "desc"}:
            raise ApiError("INVALID_ARGUMENT", f"Invalid order_by clause: {clause}")
        result.sort(key=fields[snake], reverse=direction.strip().lower() == "desc")
    return result
