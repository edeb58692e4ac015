"""Great-circle distance between two points on Earth.

Formula: haversine. With the latitudes p1 and p2 and the difference of longitudes d, the central angle is
``2 * atan2(sqrt(h), sqrt(k))``, where ``h = sin²((p1 - p2) / 2) + cos p1 * cos p2 * sin²(d / 2)`` and
``k = 1 - h = sin²((p1 + p2) / 2) + cos p1 * cos p2 * cos²(d / 2)``. ``k`` is computed as that sum and not as ``1 - h``:
the subtraction loses half of the digits near antipodes.

Radius: 6371.0088 km, the mean radius R1 = (2a + b) / 3 of the WGS 84 ellipsoid, as the International Union of Geodesy
and Geophysics (IUGG) defines it.

Accuracy: the Earth is taken as a sphere, so a result may be off by about 0.5 % against the distance on the ellipsoid.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EARTH_RADIUS_KM", "haversine_distance"]

EARTH_RADIUS_KM = 6371.0088
"""Earth's mean radius R1 (IUGG), in kilometres."""


def haversine_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the great-circle distance between two points, in kilometres.

    Each point is ``(latitude, longitude)`` in degrees. Longitudes may be any finite number: 190 is the same meridian
    as -170.

    Raises ``ValueError`` for a point that has not exactly two coordinates, for a latitude outside -90 to 90, for NaN
    and infinities, and ``TypeError`` for a coordinate that is not a number.
    """
    lat_a, lon_a = _point("first", a)
    lat_b, lon_b = _point("second", b)
    phi_a, phi_b = math.radians(lat_a), math.radians(lat_b)
    # Reduced before and after the subtraction: exact for the date line, and 179.9 to -179.9 is a short way.
    half_turn = math.radians(_reduced(_reduced(lon_b) - _reduced(lon_a))) / 2
    cosines = math.cos(phi_a) * math.cos(phi_b)
    near = math.sin((phi_a - phi_b) / 2) ** 2 + cosines * math.sin(half_turn) ** 2
    far = math.sin((phi_a + phi_b) / 2) ** 2 + cosines * math.cos(half_turn) ** 2
    return 2 * EARTH_RADIUS_KM * math.atan2(math.sqrt(near), math.sqrt(far))


def _reduced(longitude: float) -> float:
    """Bring a longitude into -180 to 180; IEEE remainder is exact, also for huge numbers."""
    return math.remainder(longitude, 360.0)


def _point(which: str, point: Sequence[float]) -> tuple[float, float]:
    """Check one point, and return its latitude and longitude as floats."""
    if isinstance(point, (str, bytes)):
        raise TypeError(f"the {which} point must be (latitude, longitude), not the text {point!r}")
    try:
        values = tuple(point)
    except TypeError:
        raise TypeError(f"the {which} point must be (latitude, longitude), not {point!r}") from None
    if len(values) != 2:
        raise ValueError(f"the {which} point must be (latitude, longitude): got {len(values)} values, {point!r}")
    latitude, longitude = _number(which, "latitude", values[0]), _number(which, "longitude", values[1])
    if not -90 <= latitude <= 90:
        raise ValueError(f"the {which} point's latitude must be between -90 and 90 degrees, not {latitude:g}")
    return latitude, longitude


def _number(which: str, name: str, value: object) -> float:
    # bool is an int to Python, but a latitude of True is a mistake somewhere.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"the {which} point's {name} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"the {which} point's {name} must be a finite number: it is too large") from None
    if not math.isfinite(number):
        raise ValueError(f"the {which} point's {name} must be a finite number, not {number}")
    return number
