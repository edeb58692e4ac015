"""CheckRolloutOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.operators.base import GarOperator

if TYPE_CHECKING:
    from airflow_gar_provider.core.fleet import Fleet


class CheckRolloutOperator(GarOperator):
    """Refuse what a form may not ask for, before anything is written: the first task of a DAG that people trigger.

    Triggering such a DAG is code execution in every environment of the fleet, and a trigger through the API sends what
    it likes. What is checked is checked with plain text: it asks Google for nothing.

    :param fleet: the fleet; environments must be of it (those that it finds by label are left to the plan).
    :param source: what is to be built, if anything.
    :param wheels: what is to be published: paths, globs and `gs://` URIs; a list, or one string.
    :param requirements: what environments are to install; a list, or one string.
    :param absent: names of packages that are to go.
    :param environments: resource names or their last parts; none: the whole fleet.
    :param allowed_sources: `gs://BUCKET/FOLDER` or absolute folders below which `source` and `wheels` must lie; whole
        segments are compared. Not given: anything.
    :param allowed_prefixes: prefixes, one of which every package's name must have. Not given: any.
    :return: {"outcome": allowed, "message", "environments": [resource name], "requirements": [text]}. Everything that
        is not allowed is named in one error. The two lists are no template fields: what a form says cannot change them.
    """

    template_fields: Sequence[str] = (
        "source",
        "wheels",
        "requirements",
        "absent",
        "environments",
        *GarOperator.template_fields,
    )

    def __init__(
        self,
        *,
        fleet: Fleet,
        source: str | None = None,
        wheels: str | Sequence[str] | None = None,
        requirements: str | Sequence[str] | None = None,
        absent: str | Sequence[str] = (),
        environments: str | Sequence[str] | None = None,
        allowed_sources: Sequence[str] | None = None,
        allowed_prefixes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.fleet = fleet
        self.source = source
        self.wheels = wheels
        self.requirements = requirements
        self.absent = absent
        self.environments = environments
        self.allowed_sources = allowed_sources
        self.allowed_prefixes = allowed_prefixes

    def execute(self, context: Context) -> dict[str, Any]:
        """Hold the request against the lists."""
        from airflow_gar_provider.core.allowed import Allowed, require_allowed

        with self.explained(context):
            found = require_allowed(
                Allowed.read(sources=self.allowed_sources, prefixes=self.allowed_prefixes),
                self.fleet,
                sources=[text for text in (self.source, self.wheels) if text],
                requirements=self.requirements,
                absent=self.absent,
                environments=self.environments,
            )
        packages = ", ".join(found["requirements"]) or "what the fleet says"
        self.log.info("%s, in %s", packages, ", ".join(found["environments"]))
        return {"outcome": "allowed", "message": "everything that was asked for is allowed", **found}
