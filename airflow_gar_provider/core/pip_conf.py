"""pip.conf: point it at repositories, and keep every other byte of it.

pip reads the file with `configparser`; a rewrite by configparser would lose comments, order and line ends, so
`pip_conf_text` edits lines. What was written is then read back the way `pip install` reads it, and compared.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_gar_provider.core.indexes import Indexes
from airflow_gar_provider.core.pip_conf_text import (
    EXTRA,
    INDEX,
    NO_INDEX,
    SECTIONS,
    TRUE,
    Document,
    Settings,
    decode,
    effective,
    read_as_pip,
)
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.service_account_key import USER, ServiceAccountKey
from airflow_gar_provider.errors import InvalidInputError, InvalidPipConfError

__all__ = [
    "FORMS",
    "cautions",
    "credentialed_urls",
    "decode",
    "difference",
    "in_use",
    "keys_in",
    "point",
    "read_as_pip",
    "with_repository",
]

FORMS = ("index", "extra_index", "absent")
_EDITED = ("DEFAULT", *SECTIONS)
"""configparser lets every section that is there inherit what stands under [DEFAULT]."""


@dataclass(frozen=True)
class _Target:
    """What is to be true of the file."""

    index: str | None
    """The URL that is to be `index-url`; None: no repository of ours is to be."""
    extra: tuple[str, ...]
    """URLs that are to be among `extra-index-url`."""
    named: tuple[str, ...]
    """All URLs that are ours, wanted or not."""


def point(
    text: str, repository: RepositoryName | Sequence[RepositoryName], form: str, key: ServiceAccountKey | None = None
) -> str:
    """The text of a pip.conf that uses the repositories in `form`; the same text when it already does.

    `index`: the first is the index (`index-url`), further ones stand beside it (`extra-index-url`). `extra_index`: all
    stand beside the index that is there, or the public one. `absent`: none is named any more. With `key` their URLs
    carry it, else they carry nothing, whatever they carried before. Everything else stays byte for byte.

    Where `[install]` or another section overrides `[global]`, the option is changed there too, and a `no-index` that
    would hide the repositories from pip becomes false. Raises InvalidInputError, InvalidPipConfError.
    """
    target = _target(repository, form, key)
    before = read_as_pip(text)
    document = Document(text)
    inherits = bool(document.find(("DEFAULT",), (*INDEX, *EXTRA, *NO_INDEX)))
    _set_index(document, target)
    _set_extra(document, target)
    if form != "absent":
        for option in document.find(_EDITED, NO_INDEX):
            if option.value.lower() in TRUE:
                document.replace(option, "false")
    result = document.text()
    _refuse_inheritance(before, document)
    _check(before, read_as_pip(result), target, inherits=inherits)
    return result


def in_use(text: str, repository: RepositoryName) -> bool:
    """Whether `pip install` asks the repository already: as the index or beside it, with a key or without."""
    return repository in Indexes.from_settings(read_as_pip(text)).repositories


def with_repository(text: str, repository: RepositoryName) -> str:
    """The text of a pip.conf that uses the repository: as it is when it does, in whatever form, else as its index.

    So an install keeps a key, or an `extra-index-url`, that somebody has put there on purpose.
    """
    return text if in_use(text, repository) else point(text, repository, "index")


def _target(repository: RepositoryName | Sequence[RepositoryName], form: str, key: ServiceAccountKey | None) -> _Target:
    if form not in FORMS:
        raise InvalidInputError(f"form is one of {', '.join(FORMS)}, not {form!r}")
    repositories = [repository] if isinstance(repository, RepositoryName) else list(dict.fromkeys(repository))
    if not repositories:
        raise InvalidInputError("no repository is named", remedy="write projects/P/locations/L/repositories/R")
    urls = tuple(_index_url(name, key) for name in repositories)
    if form == "index":
        return _Target(urls[0], urls[1:], urls)
    return _Target(None, urls if form == "extra_index" else (), urls)


def _index_url(repository: RepositoryName, key: ServiceAccountKey | None) -> str:
    if key is None:
        return repository.index_url
    return repository.index_url.replace("https://", f"https://{USER}:{key.password}@", 1)


def _set_index(document: Document, target: _Target) -> None:
    for option in document.find(_EDITED, INDEX):
        if target.index is None:
            if _among(option.value, target.named):
                document.delete(option)
        elif option.value and option.value != target.index:
            document.replace(option, target.index)
    if target.index is None:
        return
    found = document.find(("global",), INDEX)
    if not found and read_as_pip(document.text()).get(("global", INDEX[0])) != target.index:
        document.add("global", INDEX[0], target.index)
    elif found and not any(option.value for option in found):
        document.replace(found[0], target.index)


def _set_extra(document: Document, target: _Target) -> None:
    for option in document.find(_EDITED, EXTRA):
        for entry in dict.fromkeys(option.value.split()):
            wanted = next((url for url in target.extra if _bare(url) == _bare(entry)), None)
            if wanted == entry or not (wanted or _among(entry, target.named)):
                continue
            current = next(o for o in document.find((option.section,), EXTRA) if o.first == option.first)
            document.swap(current, entry, None if wanted in current.value.split() else wanted)
    for url in target.extra:
        for option in document.find(_EDITED, EXTRA):
            if option.value and url not in option.value.split():
                document.append(option, url)
        if url not in effective(read_as_pip(document.text()), EXTRA).split():
            empty = document.find(("global",), EXTRA)
            if empty:
                document.replace(empty[0], url)
            else:
                document.add("global", EXTRA[0], url)


def _among(url: str, named: Sequence[str]) -> bool:
    """Whether a URL means one of the repositories, whatever credentials or final slash it carries."""
    return _bare(url) in {_bare(one) for one in named}


def _bare(url: str) -> str:
    return re.sub(r"^(https?://)[^/@]*@", r"\1", url.strip()).rstrip("/")


def _refuse_inheritance(before: Settings, document: Document) -> None:
    """Raise InvalidPipConfError when a [global] of ours would switch on what stands under [DEFAULT]."""
    own = {option.name for option in document.find(("global",))}
    inherited = {option.name for option in document.find(("DEFAULT",))} - own
    if inherited and own and not any(section == "global" for section, _ in before):
        raise InvalidPipConfError(
            f"[DEFAULT] holds {', '.join(sorted(inherited))}, which pip does not read for want of a [global] section; "
            "with one they would begin to count",
            remedy="move them to [global], or take them out, and run this again; the file was not touched",
        )


def _check(before: Settings, after: Settings, target: _Target, *, inherits: bool) -> None:
    """Compare what pip reads now with what was meant; a difference would be our fault, and nothing is written."""
    ours = {*INDEX, *EXTRA, *NO_INDEX}
    problems = [
        f"[{section}] {name} would change"
        for section, name in sorted({*before, *after})
        if before.get((section, name)) != after.get((section, name))
        and not (name in ours and (inherits or section in SECTIONS))
    ]
    index, extra = effective(after, INDEX), effective(after, EXTRA).split()
    lost = [url for url in effective(before, EXTRA).split() if url not in extra and not _among(url, target.named)]
    problems += [f"{redact(url)} would be lost" for url in lost]
    wanted = [*target.extra, *([target.index] if target.index else [])]
    if (target.index and index != target.index) or not set(target.extra) <= set(extra):
        problems.append("the repository would not be in place")
    if any(_among(url, target.named) and url not in wanted for url in (index, *extra)):
        problems.append("the repository would be in place")
    if wanted and effective(after, NO_INDEX).lower() in TRUE:
        problems.append("no-index would hide the repository")
    if problems:
        raise InvalidPipConfError(
            f"this pip.conf cannot be edited safely: {'; '.join(problems)}",
            remedy="edit the file by hand, and report it: this is a fault of airflow-gar-provider",
        )


def cautions(text: str, form: str) -> list[str]:
    """What people should know of a pip.conf that is in place, a sentence each, without credentials."""
    settings = read_as_pip(text)
    result = [
        f"pip.conf holds a URL with credentials, which whoever writes DAGs can read: {url}"
        for url in credentialed_urls(text)
    ]
    extra = effective(settings, EXTRA).split()
    if extra:
        result.append(
            f"with extra-index-url ({', '.join(map(redact, extra))}) pip takes the highest version of any index: "
            "whoever publishes a higher version of a private name to another one is installed (dependency confusion)"
        )
    if form == "absent":
        if not effective(settings, INDEX):
            result.append("no index-url is left: pip asks the public index")
        return result
    provider = effective(settings, ("keyring-provider",))
    silent = effective(settings, ("no-input",)).lower() in TRUE and provider in ("", "auto")
    if (silent or provider == "disabled") and not effective(settings, INDEX).startswith(f"https://{USER}:"):
        setting = f"keyring-provider = {provider}" if provider == "disabled" else "no-input"
        result.append(f"{setting} keeps pip from asking keyring, by which it gets in without a key")
    others = {section for (section, name) in settings if name in (*INDEX, *EXTRA) and section not in SECTIONS}
    elsewhere = sorted(name for name in others if effective(settings, INDEX, [name]) != effective(settings, INDEX))
    if elsewhere:
        commands = ", ".join(f"[{name}]" for name in elsewhere)
        result.append(f"{commands} name indexes for other commands of pip; Composer's build runs `pip install`")
    return result


def credentialed_urls(text: str) -> list[str]:
    """Index URLs of the file that carry a user or a password, redacted."""
    return [redact(url) for url in _urls(text) if re.match(r"https?://[^/@]+@", url)]


def keys_in(text: str) -> tuple[ServiceAccountKey, ...]:
    """The service account keys that index URLs of the file carry."""
    return tuple(dict.fromkeys(key for key in map(ServiceAccountKey.of_url, _urls(text)) if key is not None))


def _urls(text: str) -> list[str]:
    values = [value for (_, name), value in read_as_pip(text).items() if name in (*INDEX, *EXTRA)]
    return list(dict.fromkeys(url for value in values for url in value.split()))


def difference(before: str, after: str) -> str:
    """What changed, as a unified diff with credentials redacted; empty when nothing did."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "pip.conf (before)", "pip.conf (after)", lineterm="", n=1
    )
    return redact("\n".join(lines))
