"""The promise "safe to run again" as a number: `make proof`. What it proves and what it does not: docs/proof.md.

`google` is a sandbox whose images are played; `world` makes what a run needs in it, under names of its own, and reads
what is there afterwards; `scenarios` are DAGs; `dag_run` executes one as Airflow would; `tries` does so in processes
that can be killed; `points` does it at every call, and prints the table. Nothing here but `scenarios` and `dag_run`
touches the product: what is compared is read through plain REST.
"""
