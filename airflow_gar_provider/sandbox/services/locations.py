"""Google's locations, as far as the sandbox's services have them."""

from __future__ import annotations

from ..errors import ApiError

LOCATIONS = (
    "africa-south1",
    "asia",
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-south2",
    "asia-southeast1",
    "asia-southeast2",
    "australia-southeast1",
    "australia-southeast2",
    "europe",
    "europe-central2",
    "europe-north1",
    "europe-southwest1",
    "europe-west1",
    "europe-west10",
    "europe-west12",
    "europe-west2",
    "europe-west3",
    "europe-west4",
    "europe-west6",
    "europe-west8",
    "europe-west9",
    "me-central1",
    "me-central2",
    "me-west1",
    "northamerica-northeast1",
    "northamerica-northeast2",
    "southamerica-east1",
    "southamerica-west1",
    "us",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-south1",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
)
"""Regions and multi-regions of Artifact Registry; Composer has the regions of them."""


def check_location(name: str) -> None:
    """PERMISSION_DENIED for a resource name (`projects/P/locations/L…`) in a location that does not exist."""
    location = name.split("/")[3]
    if location not in LOCATIONS:
        raise ApiError("PERMISSION_DENIED", f"Location {location} is not found or access is unauthorized.")
