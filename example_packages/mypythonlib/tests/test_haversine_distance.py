"""What ``haversine_distance`` promises: known distances, symmetry, and clear refusals."""

from __future__ import annotations

import math
import sys

import pytest
from mypythonlib import EARTH_RADIUS_KM, haversine_distance

HALF_TURN = math.pi * EARTH_RADIUS_KM


def test_the_distance_that_the_examples_print() -> None:
    assert haversine_distance((1, 2), (3, 4)) == pytest.approx(314.4, abs=0.05)


@pytest.mark.parametrize(
    ("a", "b", "kilometres"),
    [
        ((0, 0), (0, 0), 0.0),
        ((0, 0), (0, 90), HALF_TURN / 2),  # a quarter of the equator
        ((0, 0), (1, 0), HALF_TURN / 180),  # a degree of latitude
        ((90, 0), (-90, 0), HALF_TURN),  # pole to pole
        ((90, 12), (90, -77), 0.0),  # all longitudes meet at a pole
        ((0, 0), (0, 180), HALF_TURN),  # antipodes on the equator
        ((37.5, 10.25), (-37.5, -169.75), HALF_TURN),  # antipodes elsewhere
        ((60, 0), (60, 180), HALF_TURN / 3),  # over the pole, not along the parallel
    ],
)
def test_known_distances(a: tuple[float, float], b: tuple[float, float], kilometres: float) -> None:
    assert haversine_distance(a, b) == pytest.approx(kilometres, rel=1e-12, abs=1e-9)


def test_points_almost_opposite_keep_their_digits() -> None:
    # 1e-6 degrees (0.11 m) from the antipode: `1 - h` instead of the second sum is off by centimetres here.
    short_of = haversine_distance((0, 0), (0, 180 - 1e-6))
    assert HALF_TURN - short_of == pytest.approx(math.radians(1e-6) * EARTH_RADIUS_KM, rel=1e-4)


def test_points_close_together_keep_their_digits() -> None:
    assert haversine_distance((0, 0), (1e-9, 0)) == pytest.approx(math.radians(1e-9) * EARTH_RADIUS_KM, rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [((1, 2), (3, 4)), ((-33.9, 151.2), (51.5, -0.1)), ((89.9, 179), (-89.9, -3))])
def test_there_and_back_are_equally_far(a: tuple[float, float], b: tuple[float, float]) -> None:
    assert haversine_distance(a, b) == haversine_distance(b, a)


def test_the_date_line_is_crossed_the_short_way() -> None:
    assert haversine_distance((0, 179.5), (0, -179.5)) == pytest.approx(HALF_TURN / 180, rel=1e-12)
    assert haversine_distance((10, 180), (10, -180)) == 0.0


def test_a_longitude_may_be_any_finite_number() -> None:
    assert haversine_distance((5, 190), (6, 7)) == haversine_distance((5, -170), (6, 7))
    assert haversine_distance((0, 360.0 * 2**40), (0, 0)) == 0.0


def test_lists_are_points_too_because_json_has_no_tuples() -> None:
    assert haversine_distance([1, 2], [3, 4]) == haversine_distance((1, 2), (3, 4))


@pytest.mark.parametrize(
    ("point", "error", "message"),
    [
        ((90.1, 0), ValueError, "the second point's latitude must be between -90 and 90 degrees, not 90.1"),
        ((-91, 0), ValueError, "the second point's latitude must be between -90 and 90 degrees, not -91"),
        ((math.nan, 0), ValueError, "the second point's latitude must be a finite number, not nan"),
        ((0, math.inf), ValueError, "the second point's longitude must be a finite number, not inf"),
        ((0, 10**400), ValueError, "the second point's longitude must be a finite number: it is too large"),
        ((1,), ValueError, "the second point must be (latitude, longitude): got 1 values, (1,)"),
        ((1, 2, 3), ValueError, "the second point must be (latitude, longitude): got 3 values, (1, 2, 3)"),
        (("1", 2), TypeError, "the second point's latitude must be a number, not '1'"),
        ((1, None), TypeError, "the second point's longitude must be a number, not None"),
        ((True, 2), TypeError, "the second point's latitude must be a number, not True"),
        ("12", TypeError, "the second point must be (latitude, longitude), not the text '12'"),
        (7, TypeError, "the second point must be (latitude, longitude), not 7"),
    ],
)
def test_bad_points_are_refused_by_name(point: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        haversine_distance((0, 0), point)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_the_largest_float_is_a_longitude() -> None:
    assert 0 <= haversine_distance((0, sys.float_info.max), (0, 0)) <= HALF_TURN
