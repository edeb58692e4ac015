"""A pretend Google on one machine.

`python -m airflow_gar_provider.sandbox run [options] -- COMMAND` runs any command against it: Airflow, `gcloud`,
`twine`, `pip`, Google's own clients, with production URLs and configuration. It is a CONNECT proxy with a private
certificate authority on one loopback port; nothing leaves the machine but what `--allow-host` names and the
package indexes of this machine's pip.

It plays, under Google's own method names:

- Artifact Registry v1 over gRPC and REST: repositories, their policies, packages, versions, files (with download),
  pythonPackages, operations, locations; and `LOCATION-python.pkg.dev`: upload, index, downloads of standard
  repositories, of remote ones above a Python index, and of virtual ones above both.
- Cloud Composer v1 over gRPC and REST: environments (create, get, list, delete; update of PyPI packages, labels,
  environment variables), Airflow commands, operations, image versions. An update really runs pip. The Airflow at
  `airflowUri` is real.
- Cloud Storage's JSON API: buckets, objects, uploads of every kind, preconditions, ranges, rewrite.
- Cloud Logging v2: reading entries, with filters. IAM: service accounts, keys, tokens, impersonation, policies of
  projects, repositories, buckets and service accounts; the metadata server. Roles are really checked.

It does not play (such a method answers 501 UNIMPLEMENTED with its name):

- Artifact Registry: rules, tags, attachments, other formats than Python, settings, imports and exports; what a
  remote repository has downloaded does not show up among its packages.
- Composer: upgrades and their checks, snapshots, workloads, their secrets and config maps, database failover,
  stopping a command, every other kind of update.
- Storage: versions of objects other than the live one, compose, changing buckets, ACLs, notifications, the XML API.
- Writing log entries; ID tokens and signing; IAM conditions (a conditional binding grants nothing), groups, custom
  roles.
- Secret Manager, and every host that is not named here: the proxy refuses them.

Faults are queued per method at `POST /sandbox/faults`, calls are listed at `GET /sandbox/calls`, health is at
`/healthz`. This package imports nothing of the provider, so that a shared mistake cannot hide.
"""
