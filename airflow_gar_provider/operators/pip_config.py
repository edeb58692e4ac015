"""ComposerPipConfigOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context, mask_secret
from airflow_gar_provider.links.gar import EnvironmentLink, RepositoryLink
from airflow_gar_provider.operators.base import GarOperator, goes_on, run_of

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import EnvironmentName
    from airflow_gar_provider.steps.key import KeySource


class ComposerPipConfigOperator(GarOperator):
    """Point an environment's pip.conf at a repository; comments and other options stay as they are.

    The next update of the environment's packages reads it. The file that a change replaces is kept in the environment's
    bucket as `data/gar/pip.conf.GENERATION`, the last five of them; `restore` brings one back.

    **Without a key** is the default: the environment's service account needs to be a reader of the repository, and the
    result says whether it is, as far as that can be known. **With a key** is the way of 2022, for an environment whose
    service account cannot be made a reader: everyone who writes DAGs can read the key, and it never ends by itself. To
    change one that was made for `key_service_account`: run with `rotate`, then install something, then run with
    `retire` and the install's operation. That disables the old key; a later run deletes it. Only keys that this
    operator made are ever disabled or deleted.

    :param environment: `projects/P/locations/L/environments/E`.
    :param repository: `projects/P/locations/L/repositories/R`; a virtual one is recommended for `index`. A list, or one
        string with newlines or commas, for several: with `index` the first is the index, and the others stand beside
        it as extra indexes.
    :param form: index (`index-url`), extra_index (`extra-index-url`; open to dependency confusion), or absent.
    :param auth: "iam": no key; one that is there for the repository goes. "service_account_key": with a key.
    :param key_secret: the key file in Secret Manager, `projects/P/secrets/S` or `…/versions/V` of it.
    :param key_conn_id: a connection that holds the key file as `keyfile_dict` (Google Cloud) or as its password.
    :param key_service_account: e-mail address of a service account for which IAM makes a key, when pip.conf holds none
        that works.
    :param rotate: make a new key for `key_service_account`; later tries of the same run make no other.
    :param retire: instead of writing: disable the keys of `key_service_account` that pip.conf does not hold any more,
        when `operation` proves that an install worked without them.
    :param operation: the operation of that install, such as `{{ ti.xcom_pull('install')['operation'] }}`.
    :param restore: instead of merging: bring the file of this generation back ("0": no file), as the `restore` of an
        earlier result names it.
    :return: {"outcome": written | unchanged, "message", "environment", "repository", "repositories", "change": a
        redacted diff, "restore": the generation that undoes it, "access": granted | missing | unknown, "grants":
        commands, "account", "key": its id, "warnings": sentences}. With `retire`: {"outcome": retired | unchanged,
        "message", "environment", "account", "disabled", "deleted": ids}.
    """

    template_fields: Sequence[str] = (
        "environment",
        "repository",
        "form",
        "auth",
        "key_secret",
        "key_conn_id",
        "key_service_account",
        "operation",
        "restore",
        *GarOperator.template_fields,
    )
    operator_extra_links = (EnvironmentLink(), RepositoryLink())

    def __init__(
        self,
        *,
        environment: str,
        repository: str | Sequence[str] = (),
        form: str = "index",
        auth: str = "iam",
        key_secret: str | None = None,
        key_conn_id: str | None = None,
        key_service_account: str | None = None,
        rotate: bool = False,
        retire: bool = False,
        operation: str | None = None,
        restore: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.repository = repository
        self.form = form
        self.auth = auth
        self.key_secret = key_secret
        self.key_conn_id = key_conn_id
        self.key_service_account = key_service_account
        self.rotate = rotate
        self.retire = retire
        self.operation = operation
        self.restore = restore

    def execute(self, context: Context) -> dict[str, Any]:
        """Merge, restore, or retire old keys."""
        from airflow_gar_provider.core.environment import EnvironmentName

        with self.explained(context):
            name = EnvironmentName.parse(self.environment)
            EnvironmentLink().persist(context, name.console_url)
            result = self._act(name, context)
        self.log.info(result["message"])
        return result

    def _act(self, name: EnvironmentName, context: Context) -> dict[str, Any]:
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.core.requirement import split_list
        from airflow_gar_provider.errors import InvalidInputError
        from airflow_gar_provider.steps.key import finish
        from airflow_gar_provider.steps.point import Pointing, configure, put_back

        again = goes_on(self, context)
        if self.restore:
            return put_back(self.cloud(), name, str(self.restore))
        if self.retire:
            if not self.key_service_account:
                raise InvalidInputError("retire needs key_service_account: only keys that were made for it are retired")
            # A template renders None, the operation of an install that had nothing to do, as text.
            operation = "" if self.operation in (None, "None") else str(self.operation)
            return finish(self.cloud(), name, self.key_service_account, operation, run=run_of(context), goes_on=again)
        repositories = tuple(RepositoryName.parse(text) for text in split_list(self.repository))
        if repositories:
            RepositoryLink().persist(context, repositories[0].console_url)
        wanted = Pointing(name, repositories, self.form, self._source(), self.rotate, run_of(context), again)
        return configure(self.cloud(), wanted, mask_secret, self.clock())

    def _source(self) -> KeySource | None:
        from airflow_gar_provider.errors import InvalidInputError
        from airflow_gar_provider.hooks.gar import key_file_of
        from airflow_gar_provider.steps.key import KeySource

        named = [self.key_secret, self.key_conn_id, self.key_service_account]
        if self.auth == "iam" and not any(named) and not self.rotate:
            return None
        if self.auth != "service_account_key":
            raise InvalidInputError(
                f'auth is "iam", or "service_account_key" with the source of a key, not {self.auth!r}',
                remedy="key_secret, key_conn_id, key_service_account and rotate belong to auth='service_account_key'",
            )
        given = key_file_of(self.key_conn_id) if self.key_conn_id else None
        return KeySource(self.key_secret or None, given, self.key_service_account or None)
