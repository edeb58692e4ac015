"""What a client needs in its environment to find the sandbox instead of Google, and what would defeat it there."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .services.reality import Airflow, Images

# grpc_proxy beats https_proxy, no_grpc_proxy beats no_proxy, SSL_CERT_DIR beats the bundle; the rest are credentials of
# the user, which must not enter.
UNSET = (
    "grpc_proxy",
    "GRPC_PROXY",
    "no_grpc_proxy",
    "NO_GRPC_PROXY",
    "ALL_PROXY",
    "all_proxy",
    "SSL_CERT_DIR",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GCLOUD_PROJECT",
    "GOOGLE_CLOUD_QUOTA_PROJECT",
    "GOOGLE_API_KEY",
    "GOOGLE_CLOUD_UNIVERSE_DOMAIN",
    "GOOGLE_API_USE_CLIENT_CERTIFICATE",
    "GOOGLE_API_USE_MTLS_ENDPOINT",
    "STORAGE_EMULATOR_HOST",
    "NO_GCE_CHECK",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "TWINE_USERNAME",
    "TWINE_PASSWORD",
)
_UNSET_PREFIXES = ("CLOUDSDK_API_ENDPOINT_OVERRIDES_", "CLOUDSDK_AUTH_", "AIRFLOW_CONN_GOOGLE_CLOUD_")
_BUNDLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "NIX_SSL_CERT_FILE",
)


def google_variables(port: int, ca_file: Path) -> dict[str, str]:
    """Proxy and certificates, in both cases: with upper case alone gRPC does not find the proxy."""
    proxy = f"http://127.0.0.1:{port}"
    variables = {name: proxy for upper in ("HTTPS_PROXY", "HTTP_PROXY") for name in (upper, upper.lower())}
    variables.update(dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"))
    variables.update({name: str(ca_file) for name in _BUNDLES})
    return variables


def merged(parent: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: the parent's, without what would defeat the sandbox, and with its variables."""
    kept = {name: value for name, value in parent.items() if name not in UNSET and not name.startswith(_UNSET_PREFIXES)}
    return {**kept, **variables}


def shell_lines(parent: Mapping[str, str], variables: Mapping[str, str]) -> str:
    """The same for a shell to `eval`: what to unset of `parent`, what to export."""
    prefixed = (name for name in parent if name.startswith(_UNSET_PREFIXES))
    lines = [f"unset {name}" for name in dict.fromkeys((*UNSET, *prefixed)) if name in parent]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "".join(f"{line}\n" for line in lines)


def real_images() -> Images:
    """The module that builds images with pip."""
    from . import images  # noqa: PLC0415 - tests without pip do not need it

    return cast("Images", images)


def real_airflow(folder: Path, variables: Mapping[str, str], processes: bool) -> Airflow:
    """The Airflow that really runs in an environment."""
    from .environment_airflow import EnvironmentAirflow  # noqa: PLC0415 - tests without Airflow do not need it

    # One migrated database serves as the start of every environment's.
    return EnvironmentAirflow(folder, variables=variables, template=folder.parent / "template", processes=processes)
