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
  environment variables, overrides of Airflow's configuration; the check of an upgrade; snapshots), Airflow commands,
  operations, image versions. An update really runs pip; in Composer 2 (`--image-version`) Cloud Build v1 shows it.
  The Airflow at `airflowUri` is real; `--processes` gives an environment a scheduler and a triggerer of its own.
- Cloud Storage's JSON API: buckets, with versioning and policies; objects: uploads of every kind, preconditions on both
  generations, old versions, ranges, rewrite. Secret Manager v1 over gRPC and REST: secrets, versions, access.
- Cloud Logging v2: writing entries, and reading them with filters. IAM: service accounts, keys, tokens, impersonation,
  policies of projects, repositories, buckets, secrets and service accounts; the metadata server. Roles are really
  checked. Service Usage v1: services are listed and enabled.

It does not play the methods below: each answers 501 UNIMPLEMENTED with its name. (Names are those of Google's discovery
documents; `*` stands for anything. A test compares this list with the answers.)

- `artifactregistry.v1`: `projects.*ProjectSettings`, `*.getProjectConfig`, `*.updateProjectConfig`, `*.*VpcscConfig`,
  `*.operations.cancel`, `*.*PrewarmedArtifact`, `*.prewarmArtifact`, `*.prewarmedArtifacts.*`, `*.exportArtifact`,
  `*.attachments.*`, `*.rules.*`, `*.tags.create`, `*.tags.delete`, `*.tags.get`, `*.tags.patch`, `*.files.upload`,
  `*.versions.batchDelete`, and other formats than Python: `*.aptArtifacts.*`, `*.dockerImages.*`,
  `*.genericArtifacts.*`, `*.goModules.*`, `*.googetArtifacts.*`, `*.kfpArtifacts.*`, `*.mavenArtifacts.*`,
  `*.npmPackages.*`, `*.yumArtifacts.*`.
- `composer.v1`: `*.databaseFailover`, `*.fetchDatabaseProperties`, `*.hibernate`, `*.resume`, `*.restartWebServer`,
  `*.userWorkloadsConfigMaps.*`, `*.userWorkloadsSecrets.*`, `*.workloads.list`.
- `storage.v1`: `anywhereCaches.*`, `rapidCaches.*`, `bucketAccessControls.*`, `defaultObjectAccessControls.*`,
  `objectAccessControls.*`, `folders.*`, `managedFolders.delete`, `managedFolders.get`, `managedFolders.insert`,
  `managedFolders.update`, `managedFolders.*Iam*`, `notifications.*`, `projects.*`, `buckets.operations.*`,
  `buckets.lockRetentionPolicy`, `buckets.relocate`, `buckets.restore`, `objects.bulkRestore`, `objects.getIamPolicy`,
  `objects.move`, `objects.restore`, `objects.setIamPolicy`, `objects.testIamPermissions`, `objects.update`,
  `objects.viewFullContext`.
- `secretmanager.v1`: `projects.locations.*`, `*.enableManagedRotation`, `*.rotateSecret`.
- `logging.v2`: everything but `entries.list`, `entries.write`, `projects.logs.list`.
- `iam.v1`: everything but `projects.serviceAccounts.create`, `projects.serviceAccounts.get`,
  `projects.serviceAccounts.list`, `projects.serviceAccounts.patch`, `projects.serviceAccounts.delete`,
  `projects.serviceAccounts.disable`, `projects.serviceAccounts.enable`, `projects.serviceAccounts.*IamPolicy`,
  `projects.serviceAccounts.testIamPermissions`, `projects.serviceAccounts.keys.create`,
  `projects.serviceAccounts.keys.delete`, `projects.serviceAccounts.keys.disable`,
  `projects.serviceAccounts.keys.enable`, `projects.serviceAccounts.keys.get`, `projects.serviceAccounts.keys.list`.
- `iamcredentials.v1`: everything but `projects.serviceAccounts.generateAccessToken`,
  `projects.serviceAccounts.generateIdToken`, `projects.serviceAccounts.getAllowedLocations`.
- `cloudbuild.v1`: everything but `projects.builds.get`, `projects.builds.list`, `projects.locations.builds.get`,
  `projects.locations.builds.list`.
- `serviceusage.v1`: `operations.cancel`, `operations.delete`, `operations.list`, `services.disable`.
- `cloudresourcemanager.v1`: everything but `projects.get`, `projects.list`, `projects.getIamPolicy`,
  `projects.setIamPolicy`, `projects.testIamPermissions`.
- `cloudresourcemanager.v3`: everything but `projects.get`, `projects.getIamPolicy`, `projects.setIamPolicy`,
  `projects.testIamPermissions`.

Nor does it play, inside the methods that it has: IAM conditions (a conditional binding grants nothing), groups and
custom roles; what a remote repository has downloaded among its packages; every kind of Composer update but packages,
labels, environment variables and overrides of Airflow's configuration; Airflow's database in a snapshot; the
refusal of a service that a project has not enabled; soft delete of objects; refresh tokens and workload identity
federation at the token endpoint. Every host that is not named here is refused by the proxy.

Faults are queued per method at `POST /sandbox/faults` (see `faults`), the clock is at `/sandbox/time` (see `clock`),
calls are listed at `GET /sandbox/calls`, health is at `/healthz`. This package imports nothing of the provider, so that
a shared mistake cannot hide.
"""
