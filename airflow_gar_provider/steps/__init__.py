"""START HERE: what this provider does, step by step. No Airflow in here, and Google only through `gcp/`.

::

    step                            decided in core/            spoken by gcp/      shown in Airflow as
    0 build    source -> wheel      wheel                       (pypa/build)        BuildWheelOperator
    1 publish  wheel -> registry    wheel, sdist, publishable   package_index       PublishWheelOperator
               repository, access   repository                  artifact_registry   Create…, Grant…Operator
    2 point    registry -> pip.conf repository, pip_conf        storage             ComposerPipConfigOperator
               keys (the 2022 way)  service_account_key         iam, secret_manager (`auth="service_account_key"`)
    3 request  wanted -> patch      requirement, environment    composer            InstallPrivatePackageOperator
               preflight, drain     preflight, choice           REST API            (`drain`: DrainTrigger)
    4 check    patch -> operation   operation                   composer            trigger, or a blocking wait
    5 verify   wanted = actual      verification, diagnosis     composer, logs      InstallPrivatePackageOperator
               rollback, hold       environment                 composer, storage   (`rollback=True`)
    6 use      DAG -> distance      environment                 storage, REST API   Deploy…, RunEnvironmentDagOperator
    fleet      many environments    fleet, plan, rollout        all                 PlanRolloutOperator, `roll_out`
               afterwards           watch, prune                artifact_registry   PackageVersionSensor, Prune…Operator

A step reads Google's state, compares, acts, reads again. So a worker that dies anywhere can run it again: it finds the
file uploaded and compares hashes, finds pip.conf written and leaves it, finds the operation in flight and follows it.
Each returns a small dict with an `outcome` and a `message` for people, or raises an error of `errors.py`.
"""
