"""A real, distributed Airflow on one machine: CeleryExecutor, Redis, PostgreSQL, workers that share no folder.

`services` starts Debian's Redis and PostgreSQL for ourselves, `stack` starts Airflow's components on them and kills
them one by one, `hostname` is what Airflow calls them. `make test-distributed` runs it; docs/distributed.md tells what
it shows, and what of its settings a real cluster should take over.
"""
