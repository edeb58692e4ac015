"""Why a build failed: the messages that are known of Composer and pip, each with its cause and remedy."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core.diagnosis import Cause, RegistryView, diagnose, is_package_failure
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.repository import RepositoryName, reads_by
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.core.verification import parse_pip_list, undeclared, uninstalled

ENVIRONMENT = EnvironmentName.parse("projects/acme-data/locations/europe-west1/environments/dev")
REPOSITORY = RepositoryName.parse("projects/acme-packages/locations/europe-west1/repositories/python")
ACCOUNT = "dev@acme-data.iam.gserviceaccount.com"
FAILED = "Failed to install Python packages. Check the build logs for details."
NONE_FOUND = [
    "ERROR: Could not find a version that satisfies the requirement mypythonlib==1.0.0 (from versions: none)",
    "ERROR: No matching distribution found for mypythonlib==1.0.0",
]


def view(versions: tuple[str, ...] | None, reader: bool | None, **other: object) -> RegistryView:
    return RegistryView(REPOSITORY, "mypythonlib", versions, reader, **other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "cause", "said"),
    [
        (view(("1.0.0",), False), Cause.NO_ACCESS, "may not read mypythonlib from the repository"),
        (view(("1.0.0",), True, signs_in=True), Cause.WRONG_CREDENTIALS, "pip saw no mypythonlib there"),
        (view(("1.0.0",), False, signs_in=True), Cause.WRONG_CREDENTIALS, "a key that was deleted or replaced"),
        (view(("1.0.0",), False, misfit="a is for win32", signs_in=True), Cause.WRONG_PLATFORM, "a is for win32"),
        (view(("1.0.0",), None), Cause.NO_ACCESS, "the repository's own policy does not name it"),
        (view(("1.0.0",), None, misfit="a needs Python >=3.12"), Cause.WRONG_PLATFORM, "a needs Python >=3.12"),
        (view(("1.0.0",), True, misfit="a is for win32", needs_python=True), Cause.WRONG_PYTHON, "a is for win32"),
        (view(("1.0.0",), False, misfit="a is for win32"), Cause.NO_ACCESS, "may not read mypythonlib"),
        (view(("1.0.0",), True), Cause.WRONG_PLATFORM, "pip took no file of it"),
        (view(("0.9",), False), Cause.WRONG_VERSION, "the repository holds 0.9"),
        (view((), False), Cause.NOT_PUBLISHED, "the repository holds no package mypythonlib"),
        (view(None, None), Cause.NOT_IN_INDEX, "pip's output is the same for both"),
        (None, Cause.NOT_IN_INDEX, "pip's output is the same for both"),
    ],
)
def test_nothing_found(seen: RegistryView | None, cause: Cause, said: str) -> None:
    """pip prints the same two lines for all of these; the registry and IAM tell them apart."""
    found = diagnose(
        FAILED,
        NONE_FOUND,
        environment=ENVIRONMENT,
        service_account=ACCOUNT,
        wanted=parse_requirements("mypythonlib==1.0.0"),
        views=[seen] if seen else [],
    )
    assert found.cause is cause
    assert said in found.summary
    assert found.evidence == tuple(NONE_FOUND)


def test_no_access_names_all_that_is_needed() -> None:
    """The cause, the service account, the repository, the role, and the command that grants it."""
    found = diagnose(
        FAILED,
        NONE_FOUND,
        environment=ENVIRONMENT,
        service_account=ACCOUNT,
        wanted=parse_requirements("mypythonlib==1.0.0"),
        views=[view(("1.0.0",), False)],
    )
    assert dict(found.facts) == {
        "service account": ACCOUNT,
        "repository": str(REPOSITORY),
        "role to grant": "roles/artifactregistry.reader",
    }
    assert (
        "gcloud artifacts repositories add-iam-policy-binding python --project=acme-packages --location=europe-west1 "
        f"--member=serviceAccount:{ACCOUNT} --role=roles/artifactregistry.reader" in found.remedy
    )


CONFLICT = "mysql-connector-python 8.0.32 has requirement protobuf<=3.20.3,>=3.11.0, but you have protobuf 4.23.0."
OTHER = "aiohttp 3.8.3 has requirement charset-normalizer<3.0,>=2.0, but you have charset-normalizer 3.3.2. Check the"


@pytest.mark.parametrize(
    ("message", "log", "cause", "said"),
    [
        (f"Failed to install PyPI packages. {CONFLICT}", [], Cause.CONFLICT, "needs protobuf<=3.20.3,>=3.11.0"),
        (f"Failed to install Python packages. \n {OTHER}", [], Cause.CONFLICT, "would leave charset-normalizer 3.3.2"),
        (
            FAILED,
            ["backport 1 has requirement google-cloud-logging<3, but you'll have google-cloud-logging 1.15.0 which"],
            Cause.CONFLICT,
            "would leave google-cloud-logging 1.15.0",
        ),
        (FAILED, ["ERROR: ResolutionImpossible: for help visit …"], Cause.CONFLICT, "contradict each other"),
        (
            "Failed to install PyPI packages. Could not find a version that satisfies the requirement pandas",
            [],
            Cause.NOT_IN_INDEX,
            "found no pandas at all",
        ),
        (
            FAILED,
            ["ERROR: Could not find a version that satisfies the requirement a==3 (from versions: 1.0, 2.0)"],
            Cause.WRONG_VERSION,
            "pip saw 1.0, 2.0",
        ),
        (
            FAILED,
            ["ERROR: Could not find a version that satisfies the requirement b>1 (from a) (from versions: none)"],
            Cause.NOT_IN_INDEX,
            "found no b at all",
        ),
        (
            FAILED,
            ["WARNING: 401 Error, Credentials not correct for https://europe-west1-python.pkg.dev/p/r/simple/a/"],
            Cause.WRONG_CREDENTIALS,
            "refused the credentials",
        ),
        (
            FAILED,
            ["INFO: pip is looking at multiple versions of a to determine", "Build timed out"],
            Cause.TIMEOUT,
            "version after version",
        ),
        (FAILED, ["ERROR: Configuration file could not be loaded."], Cause.PIP_CONF, "cannot be read by pip"),
        (
            FAILED,
            ["Compute Engine Metadata server unavailable on attempt 3 of 3. Reason: timed out"],
            Cause.INFRASTRUCTURE,
            "broke before pip",
        ),
        (FAILED, ["something nobody has seen"], Cause.UNKNOWN, "Failed to install Python packages"),
        ("", [], Cause.UNKNOWN, "Composer says: nothing"),
    ],
)
def test_known_messages(message: str, log: list[str], cause: Cause, said: str) -> None:
    """Operation errors and log lines, as Google's documentation and public issues quote them."""
    found = diagnose(message, log, environment=ENVIRONMENT, service_account=ACCOUNT)
    assert found.cause is cause
    assert said in found.summary
    assert found.remedy


def test_package_failures_are_told_by_their_text() -> None:
    """Code 3 is any bad request: only Composer's wording tells."""
    assert is_package_failure("Failed to install PyPI packages. Check the Cloud Build log at …")
    assert is_package_failure(f"Error code 3, message: {FAILED}")
    assert not is_package_failure("Cannot update environment in state UPDATING.")


@pytest.mark.parametrize(
    "secret",
    [
        "https://_json_key_base64:eyJ0eXBlIjogInNlcnZpY2UifQ==@host/simple/",
        "https://oauth2accesstoken:ya29.a0AfH6SMBx@host/",
        "_json_key_base64:eyJ0eXBlIjogInNlcnZpY2UifQ==",
        "token ya29.a0AfH6SMBx-y_z",
        "Authorization: Bearer abcdef1234567890",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.c2lnbmF0dXJl",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    ],
)
def test_redaction(secret: str) -> None:
    """Every shape of credential goes, the words around it stay."""
    shown = redact(f"before {secret} after")
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    for part in ("eyJ0", "ya29", "abcdef", "c2ln", "MIIE"):
        assert part not in shown


def test_a_policy_proves_only_what_it_says() -> None:
    """A direct binding proves access; its absence proves nothing, which is for the caller to say."""
    member = f"serviceAccount:{ACCOUNT}"
    assert reads_by([("roles/artifactregistry.reader", ["user:a@x", member])], member)
    assert not reads_by([("roles/artifactregistry.reader", ["group:all@x"]), ("roles/viewer", [member])], member)


def test_verification() -> None:
    """Declared and installed, each told in a sentence."""
    wanted = parse_requirements("a==2, b")
    assert undeclared({"a": "==2", "b": ""}, wanted, []) == []
    assert undeclared({"a": "==1", "c": ""}, wanted, ["c"]) == [
        "a is declared as '==1', wanted '==2'",
        "b is declared as 'absent', wanted ''",
        "c is still declared",
    ]
    assert uninstalled({"a": "2", "b": "9"}, wanted) == []
    assert uninstalled({"a": "1"}, wanted) == [
        "a==2 is wanted, but version 1 is installed",
        "b is declared, but not installed",
    ]


@pytest.mark.parametrize(
    "output",
    [
        "Package    Version\n---------- -------\nMy_Pkg     1.0\nb 2.0rc1\n",
        "My_Pkg==1.0\nb==2.0rc1\n",
        '[{"name": "My_Pkg", "version": "1.0"}, {"name": "b", "version": "2.0rc1"}]',
    ],
)
def test_pip_list(output: str) -> None:
    """The three forms in which pip prints what is installed."""
    assert parse_pip_list(output) == {"my-pkg": "1.0", "b": "2.0rc1"}
