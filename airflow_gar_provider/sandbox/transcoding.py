"""REST to protobuf and back, by the HTTP rules that Google's generated clients carry."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from google.protobuf import json_format

from .errors import ApiError
from .fieldmask import split_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# https://cloud.google.com/apis/docs/system-parameters
SYSTEM_PARAMETERS = frozenset(
    (
        "alt",
        "$alt",
        "prettyPrint",
        "$prettyPrint",
        "fields",
        "$fields",
        "key",
        "access_token",
        "oauth_token",
        "quotaUser",
        "callback",
        "uploadType",
        "upload_protocol",
        "$.xgafv",
        "$httpMethod",
        "$userProject",
        "$apiVersion",
    )
)
_MASKS = ("updateMask", "update_mask")


@dataclass(frozen=True)
class Rule:
    """One HTTP rule of a method."""

    verb: str
    """GET, POST, …"""
    pattern: re.Pattern[str]
    """Matches the raw path (not percent-decoded)."""
    variables: tuple[str, ...]
    """Field paths of the pattern's groups, in order."""
    body: str
    """`*`, a field name, or "" for none."""
    custom: bool
    """The path ends in `:verb`."""
    wide: frozenset[str] = frozenset()
    """The variables that span several path segments."""

    @classmethod
    def from_option(cls, option: Mapping[str, str]) -> Rule:
        """Read a rule as `_get_http_options` of a generated transport gives it."""
        uri = option["uri"]
        variables: list[str] = []
        wide: set[str] = set()

        def group(match: re.Match[str]) -> str:
            name, _, template = match.group(1).partition("=")
            variables.append(name)
            if "/" in template:
                wide.add(name)
            parts = (_SEGMENTS.get(part, re.escape(part)) for part in (template or "*").split("/"))
            return f"({'/'.join(parts)})"

        pieces = re.split(r"(\{[^}]+\})", uri)
        text = "".join(
            re.sub(r"\{([^}]+)\}", group, piece) if piece[:1] == "{" else re.escape(piece) for piece in pieces
        )
        # gcloud's beta commands speak v1beta1 and v1beta2 of the same methods.
        text = re.sub(r"^/v1/", "/v1(?:beta[12])?/", text)
        custom = ":" in uri.rsplit("/", 1)[-1].rsplit("}", 1)[-1]
        return cls(
            option["method"].upper(),
            re.compile(text),
            tuple(variables),
            option.get("body", ""),
            custom,
            frozenset(wide),
        )

    def match(self, verb: str, raw_path: str) -> dict[str, str] | None:
        """The path's variables, decoded exactly once; None when the rule is not for this request.

        In a variable of several segments `%2F` stays as it is (google/api/http.proto): so a file's name may be sent
        with `%252F`, as gcloud does, or with `%2F`, as the clients made of discovery documents do.
        """
        if verb != self.verb:
            return None
        found = self.pattern.fullmatch(raw_path)
        if found is None:
            return None
        return {
            name: unquote(_SLASH.sub(r"%25\1", value) if name in self.wide else value)
            for name, value in zip(self.variables, found.groups(), strict=True)
        }


_SLASH = re.compile(r"%(2[Ff])")
_SEGMENTS = {"*": "[^/]+", "**": ".+"}


def read_request(request_type: Any, rule: Rule, variables: Mapping[str, str], query: str, body: bytes) -> Any:
    """The protobuf request of a REST call. Unknown fields are refused, as Google does."""
    message = new_message(request_type)
    if rule.body and body:
        value = _json(body)
        target = message if rule.body == "*" else getattr(message, rule.body)
        _parse(value, target)
    tree: dict[str, Any] = {}
    masks: list[str] = []
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in SYSTEM_PARAMETERS:
            continue
        if name in _MASKS:
            masks.extend(split_mask(text))
            continue
        _plant(tree, name, text, message.DESCRIPTOR)
    _parse(tree, message)
    for name, text in variables.items():
        _set(message, name, text)
    if masks:
        message.update_mask.paths.extend(masks)
    return message


def _json(body: bytes) -> Any:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error
    if not isinstance(value, dict):
        raise ApiError("INVALID_ARGUMENT", "Invalid JSON payload received. Root element must be a message.")
    return value


def _parse(value: Any, message: Any) -> None:
    _spell_enums(value, message.DESCRIPTOR)
    try:
        json_format.ParseDict(value, message)
    except json_format.ParseError as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error


def _spell_enums(value: Any, descriptor: Any) -> None:
    """Write the names of enum values in capitals: Google takes `Keep` for `KEEP`, as gcloud sends it."""
    for name, item in value.items() if isinstance(value, dict) else ():
        field = descriptor.fields_by_camelcase_name.get(name) or descriptor.fields_by_name.get(name)
        kind = None if field is None else field.message_type
        if field is not None and field.enum_type is not None and isinstance(item, str):
            known = field.enum_type.values_by_name
            value[name] = item.upper() if item not in known and item.upper() in known else item
        elif kind is not None and kind.GetOptions().map_entry:
            below = kind.fields_by_name["value"].message_type
            for entry in item.values() if below is not None and isinstance(item, dict) else ():
                _spell_enums(entry, below)
        elif kind is not None:
            for entry in item if isinstance(item, list) else [item]:
                _spell_enums(entry, kind)


def _plant(tree: dict[str, Any], name: str, text: str, descriptor: Any) -> None:
    """Put one query parameter (`a.b=text`) into the tree that becomes the request."""
    *parents, last = name.split(".")
    for parent in parents:
        field = _field(descriptor, parent, name)
        tree, descriptor = tree.setdefault(parent, {}), field.message_type
    field = _field(descriptor, last, name)
    value: Any = text
    if field.type == field.TYPE_BOOL:
        value = text.lower() == "true"
    elif field.type == field.TYPE_ENUM and text.lstrip("-").isdigit():
        value = int(text)
    elif field.type in {field.TYPE_INT32, field.TYPE_INT64, field.TYPE_UINT32, field.TYPE_UINT64} and not text:
        value = 0
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    if repeated:
        tree.setdefault(last, []).append(value)
    else:
        tree[last] = value


def _field(descriptor: Any, name: str, whole: str) -> Any:
    field = descriptor and (descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name))
    if field is None:
        text = f'Invalid JSON payload received. Unknown name "{whole}": Cannot bind query parameter. '
        raise ApiError("INVALID_ARGUMENT", f"{text}Field could not be found in request message.")
    return field


def _set(message: Any, path: str, text: str) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        message = getattr(message, parent)
    setattr(message, last, text)


def new_message(message_type: Any) -> Any:
    """An empty plain protobuf message of a proto-plus or plain type."""
    return message_type.pb()() if hasattr(message_type, "pb") else message_type()


def wrap(message_type: Any, message: Any) -> Any:
    """The plain message in its proto-plus type, if it has one."""
    return message_type.wrap(message) if hasattr(message_type, "wrap") else message


def unwrap(message: Any) -> Any:
    """The plain protobuf message of an answer."""
    return type(message).pb(message) if hasattr(type(message), "pb") else message


def to_json(message: Any, query: str) -> bytes:
    """The JSON of an answer; clients of the generated kind ask for enums as numbers."""
    numbers = any("enum-encoding=int" in text for name, text in parse_qsl(query) if name in {"$alt", "alt"})
    value = json_format.MessageToDict(message, use_integers_for_enums=numbers)
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def sorted_rules(rules: Sequence[tuple[Rule, Any]]) -> list[tuple[Rule, Any]]:
    """Rules in the order to try them: `…:verb` before a name that could swallow it, long before short."""
    return sorted(rules, key=lambda item: (not item[0].custom, -len(item[0].pattern.pattern)))
