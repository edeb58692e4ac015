"""What the folder of a local Airflow holds: ``airflow.cfg`` (with the secrets), the login, links to the DAG files.

Everything is in ``airflow.cfg``, readable by the owner only, and not in environment variables: so the secrets are in no
process's environment, all components have the same, and ``AIRFLOW_HOME=FOLDER airflow …`` works by hand.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from configparser import ConfigParser
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

USER = "admin"
CONNECTION = "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"


def airflow_version() -> tuple[int, ...]:
    """The installed Airflow's major and minor version, without importing it (that takes seconds)."""
    return tuple(int(part) for part in version("apache-airflow").split(".")[:2])


def write_private(file: Path, text: str) -> None:
    """Write a file that only the owner may read, from its first byte on, and put it in place as a whole."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    draft.replace(file)


def password(home: Path, user: str = USER) -> str:
    """A login's password: made once, then kept, so that a browser stays logged in over restarts."""
    file = home / "simple_auth_manager_passwords.json.generated"
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if user not in known:
        known[user] = secrets.token_urlsafe(12)
        write_private(file, json.dumps(known))
    return known[user]


def write_config(
    home: Path,
    *,
    port: int,
    parallelism: int,
    users: Mapping[str, str] | None = None,
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write ``airflow.cfg`` for this start; secrets of an earlier start are kept.

    ``users`` may log in besides the admin: name → role (viewer, user, op, admin). ``more``: options, by section, that
    are set as well.
    """
    file = home / "airflow.cfg"
    known = ConfigParser(interpolation=None)
    known.read(file, encoding="utf-8")
    config = ConfigParser(interpolation=None)
    config.read_dict(_sections(home, port=port, parallelism=parallelism))
    config.read_dict(_escaped(more or {}))
    logins = {USER: "admin", **(users or {})}
    config.set("core", "simple_auth_manager_users", ",".join(f"{name}:{role}" for name, role in logins.items()))
    for section, option, value in (
        ("core", "fernet_key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()),
        ("api", "secret_key", secrets.token_urlsafe(32)),
        ("api_auth", "jwt_secret", secrets.token_urlsafe(48)),
    ):
        config.set(section, option, known.get(section, option, fallback=value))
    _save(config, file)


def write_config_apart(home: Path, source: Path) -> None:
    """Write the ``airflow.cfg`` of a component with a working folder of its own: `source`'s, with other folders."""
    config = ConfigParser(interpolation=None)
    config.read(source / "airflow.cfg", encoding="utf-8")
    config.read_dict(_escaped(_folders(home)))
    _save(config, home / "airflow.cfg")


def _save(config: ConfigParser, file: Path) -> None:
    draft = _Text()
    config.write(draft)
    write_private(file, "".join(draft))


class _Text(list[str]):
    """What `ConfigParser.write` wants: something to write to."""

    def write(self, text: str) -> None:
        self.append(text)


def _sections(home: Path, *, port: int, parallelism: int) -> dict[str, dict[str, str]]:
    url = f"http://127.0.0.1:{port}"
    sections: dict[str, dict[str, str]] = {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": str(parallelism),
            "load_examples": "False",
            "dags_are_paused_at_creation": "True",  # an example with a schedule must not start by itself
            "execution_api_server_url": f"{url}/execution/",
        },
        "database": {
            # SQLite has one writer at a time: wait for it longer than the five seconds that are its default.
            "sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout=30",
        },
        "api": {"host": "127.0.0.1", "port": str(port), "base_url": url, "workers": "1", "expose_config": "False"},
        "api_auth": {},
        "dag_processor": {
            "parsing_processes": "1",
            "refresh_interval": "30",  # a new DAG file is seen after half a minute, not after five
            "min_file_process_interval": "30",
            "dag_file_processor_timeout": "120",  # two slow cores, and every component starting at once
        },
        "usage_data_collection": {"enabled": "False"},
    }
    for name, part in _folders(home).items():
        sections.setdefault(name, {}).update(part)
    return _escaped(sections)


def _folders(home: Path) -> dict[str, dict[str, str]]:
    """Where a component reads DAG files and writes the logs of tasks."""
    return {"core": {"dags_folder": str(home / "dags")}, "logging": {"base_log_folder": str(home / "logs")}}


def _escaped(sections: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """As a file has them: Airflow interpolates, so a percent sign must be doubled."""
    return {name: {key: text.replace("%", "%%") for key, text in part.items()} for name, part in sections.items()}


def link_dags(source: Path, home: Path) -> None:
    """Make ``dags/`` a mirror of links to the files under `source`.

    Links, because an edit is then seen at once; and a link per file instead of one to the folder, because Python writes
    its ``__pycache__`` beside the file that it was told to read, and the sources should stay clean.
    """
    target = home / "dags"
    target.mkdir(exist_ok=True)
    wanted = {
        target / file.relative_to(source): file.resolve()
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    for link in [entry for entry in target.rglob("*") if entry.is_symlink()]:
        if link not in wanted or link.readlink() != wanted[link]:
            link.unlink()
    for link, file in wanted.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(file)


def environment(inherited: Mapping[str, str], home: Path, *, python_path: tuple[Path, ...]) -> dict[str, str]:
    """The environment of Airflow's processes: what we inherited, without the settings of another Airflow."""
    environ = {
        key: value
        for key, value in inherited.items()
        if not key.startswith("AIRFLOW__") and key not in {"AIRFLOW_HOME", "AIRFLOW_CONFIG"}
    }
    environ["AIRFLOW_HOME"] = str(home)
    # No key: Application Default Credentials, which on Google Cloud is the metadata server.
    environ[CONNECTION] = json.dumps({"conn_type": "google_cloud_platform"})
    paths = [str(path) for path in python_path] + [path for path in (environ.get("PYTHONPATH"),) if path]
    if paths:
        environ["PYTHONPATH"] = os.pathsep.join(paths)
    return environ
