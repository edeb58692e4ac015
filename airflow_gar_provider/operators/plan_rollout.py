"""PlanRolloutOperator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.storage import PlanLink
from airflow_gar_provider.operators.rollout_base import RolloutOperator, is_true

if TYPE_CHECKING:
    from airflow_gar_provider.core.fleet import Fleet
    from airflow_gar_provider.core.plan import Plan
    from airflow_gar_provider.core.planning import Request
    from airflow_gar_provider.steps.fleet_state import FleetState


class PlanRolloutOperator(RolloutOperator):
    """Say for each environment of a fleet what a rollout would change. It changes nothing but the plan's own object.

    The whole plan is kept below the fleet's `state`; a summary and a Markdown table are the result. A second try finds
    the plan of the first: what was reviewed is what is applied.

    :param fleet: a Fleet, or the `gs://` URI of its YAML file.
    :param stages: names that the file's stages must have, in their order: those for which the DAG has tasks.
    :param repository: `projects/P/locations/L/repositories/R`; a virtual one stands for its standard upstreams.
    :param requirements: for every environment; not given: what the fleet says of each.
    :param absent: names of packages that must not be declared.
    :param environments: only these, as resource names or as their last part; not given: all.
    :param strategy: one (one version for all; whom it does not fit is blocked) or newest_each.
    :param minimum_age: seconds since its publication before a version is chosen for a range or a bare name; with
        newest_each, a younger one that is declared already stays.
    :param prereleases: whether pre-releases are chosen for a range or a bare name.
    :param allowed_prefixes: prefixes, one of which every name in `requirements` and `absent` must have; no template
        field, so that what a form says cannot change it. What the fleet itself says is its author's.
    :param approved_plan: the `content_digest` of a plan that was looked at, such as that of a dry run: another plan is
        refused, and the error says what has changed since.
    :param approve_before: stages that are changed only with an `approved_plan`, on an Airflow that cannot ask.
    :param approval: which of those stages really (see roll_out).
    :param planned_only: a dry run: nobody has to approve it, and its plan may be approved later.
    :param state: `gs://BUCKET/PREFIX` for the plan; not given: the fleet's own.
    :param check_pip_conf: read each environment's pip.conf: one call for each, without content where it has not changed
        since an earlier plan.
    :return: {"outcome": "plan", "message", "plan": URI, "digest", "content_digest" (the same for a plan that would do
        the same), "counts": {outlook: number}, "stages": {name: number of environments that change}, "wheels": {file:
        SHA-256}, "table": Markdown}.
    """

    template_fields: Sequence[str] = (
        "stages",
        "repository",
        "requirements",
        "absent",
        "environments",
        "strategy",
        "approved_plan",
        "approval",
        "planned_only",
        *RolloutOperator.template_fields,
    )

    def __init__(
        self,
        *,
        fleet: Fleet | str,
        stages: Sequence[str] = (),
        repository: str,
        requirements: str | Sequence[str] | None = None,
        absent: str | Sequence[str] = (),
        environments: str | Sequence[str] | None = None,
        strategy: str = "one",
        minimum_age: float = 0,
        prereleases: bool = False,
        check_pip_conf: bool = True,
        allowed_prefixes: str | Sequence[str] | None = None,
        approved_plan: str | None = None,
        approve_before: Sequence[str] = (),
        approval: bool | str | Sequence[str] = True,
        planned_only: bool | str = False,
        state: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(state=state or ("" if isinstance(fleet, str) else fleet.state), **kwargs)
        self.fleet = fleet
        self.stages = stages
        self.repository = repository
        self.requirements = requirements
        self.absent = absent
        self.environments = environments
        self.strategy = strategy
        self.minimum_age = minimum_age
        self.prereleases = prereleases
        self.check_pip_conf = check_pip_conf
        self.allowed_prefixes = allowed_prefixes
        self.approved_plan = approved_plan
        self.approve_before = approve_before
        self.approval = approval
        self.planned_only = planned_only

    def execute(self, context: Context) -> dict[str, Any]:
        """Read, compare, keep the plan."""
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.steps.fleet_state import FleetState
        from airflow_gar_provider.steps.plan import make_plan, read_fleet_object

        with self.explained(context):
            request = self._request()
            storage = self.cloud().storage
            if isinstance(self.fleet, str):
                fleet = read_fleet_object(storage, self.fleet, stages=self.stages, state=self.state)
            else:
                fleet = self.fleet
            state = FleetState(storage, self.state or fleet.state, self.rollout)
            PlanLink().persist_object(context, state.plan_uri)
            repository = RepositoryName.parse(self.repository)
            with state.glances(repository) as glances:
                plan = make_plan(
                    cache(self.cloud_of),
                    fleet,
                    repository,
                    request,
                    run=self.rollout,
                    now=datetime.now(timezone.utc),
                    check_pip_conf=self.check_pip_conf,
                    holds=state.holds(),
                    only=self.environments,
                    glances=glances,
                )
            self._approved(state, plan)
            return self._result(state.plan_uri, state.write_plan(plan))

    def _approved(self, state: FleetState, plan: Plan) -> None:
        """Nothing is kept for later tasks that is not what was approved."""
        from airflow_gar_provider.core.approval import asked
        from airflow_gar_provider.errors import NotApprovedError
        from airflow_gar_provider.steps.review import require_reviewed

        unasked = is_true(self.planned_only) or not self.approve_before
        needed = () if unasked else asked(self.approve_before, self.approval)
        if is_true(self.planned_only):
            state.keep_reviewed(plan)
        try:
            require_reviewed(state, plan, str(self.approved_plan or "").strip().lower() or None, needed)
        except NotApprovedError:
            self.log.info("not approved yet:\n%s", plan.markdown())
            raise

    def _request(self) -> Request:
        from airflow_gar_provider.core.allowed import Allowed
        from airflow_gar_provider.core.fleet import Packages
        from airflow_gar_provider.core.planning import Request
        from airflow_gar_provider.core.requirement import parse_names, parse_requirements

        named = self.requirements or self.absent
        packages = Packages(parse_requirements(self.requirements), parse_names(self.absent)) if named else None
        if packages:
            names = [*(requirement.name for requirement in packages.wanted), *packages.absent]
            Allowed.read(prefixes=self.allowed_prefixes).require(packages=names)
        age = timedelta(seconds=self.minimum_age) if self.minimum_age else None
        return Request(packages, self.strategy, self.prereleases, age)

    def _result(self, uri: str, plan: Plan) -> dict[str, Any]:
        counts = plan.counts()
        told = ", ".join(f"{number} {outlook}" for outlook, number in counts.items()) or "no environment"
        table = plan.markdown()
        self.log.info("plan for %s: %s\n%s", plan.repository, told, table)
        return {
            "outcome": "plan",
            "message": f"plan of {sum(counts.values())} environments: {told}",
            "plan": uri,
            "digest": plan.digest,
            "content_digest": plan.content_digest,
            "counts": counts,
            "stages": {stage.name: len(plan.of_stage(stage.name)) for stage in plan.stages},
            "wheels": dict(plan.wheels),
            "table": table,
        }
