"""Reading update masks.

`json_format` cannot: it refuses snake_case, and it turns map keys into camelCase. So the descriptor is walked:
field names are accepted in both spellings, the first map field ends the walk, and what follows is the key,
verbatim, dots included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import ApiError


@dataclass(frozen=True)
class MaskPath:
    """One path of an update mask."""

    field: str
    """The field in snake_case, dotted: `config.software_config.pypi_packages`."""
    key: str | None = None
    """The key inside that field when it is a map and the path goes on."""


def split_mask(text: str) -> list[str]:
    """The paths of a mask as it stands in a URL."""
    return [path.strip() for path in text.split(",") if path.strip()]


def read_path(path: str, descriptor: Any) -> MaskPath:
    """Read one path against the message that it masks; INVALID_ARGUMENT when there is no such field."""
    names: list[str] = []
    rest = path
    while rest:
        name, _, rest = rest.partition(".")
        field = _field(descriptor, name)
        if field is None:
            raise ApiError("INVALID_ARGUMENT", f"Invalid field mask: unknown field {path!r}.")
        names.append(field.name)
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return MaskPath(".".join(names), rest or None)
        if rest and entry is None:
            raise ApiError("INVALID_ARGUMENT", f"Invalid field mask: {path!r} goes below the field {field.name!r}.")
        descriptor = entry
    return MaskPath(".".join(names))


def _field(descriptor: Any, name: str) -> Any:
    # proto-plus writes a trailing underscore where a name is a Python keyword; masks do not.
    return descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)


def apply_mask(target: Any, source: Any, paths: list[MaskPath]) -> None:
    """Copy the masked fields of `source` onto `target` (two protobuf messages of one type)."""
    for path in paths:
        into, out_of = target, source
        *parents, last = path.field.split(".")
        for name in parents:
            into, out_of = getattr(into, name), getattr(out_of, name)
        if path.key is not None:
            values = getattr(out_of, last)
            if path.key in values:
                getattr(into, last)[path.key] = values[path.key]
            else:
                getattr(into, last).pop(path.key, None)
            continue
        into.ClearField(last)
        field = into.DESCRIPTOR.fields_by_name[last]
        if field.message_type is None and not _repeated(field):
            setattr(into, last, getattr(out_of, last))
        elif _repeated(field):
            getattr(into, last).MergeFrom(getattr(out_of, last))
        elif out_of.HasField(last):
            getattr(into, last).CopyFrom(getattr(out_of, last))


def _repeated(field: Any) -> bool:
    # `label` is deprecated in protobuf 7 and `is_repeated` is missing before 6.
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == field.LABEL_REPEATED)
