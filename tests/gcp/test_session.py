"""An access token is renewed before it ends, not after a call has failed with it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from google.auth.credentials import Credentials

from airflow_gar_provider.gcp.session import Session


class Counting(Credentials):  # type: ignore[misc]  # Google's modules are not followed by mypy
    """Credentials whose tokens are numbered."""

    def __init__(self, left: timedelta) -> None:
        super().__init__()
        self.made = 1
        self.token = "token-1"
        self.expiry = (datetime.now(timezone.utc) + left).replace(tzinfo=None)

    def refresh(self, request: Any) -> None:
        self.made += 1
        self.token = f"token-{self.made}"
        self.expiry = (datetime.now(timezone.utc) + timedelta(hours=1)).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("left", "token"),
    [(timedelta(hours=1), "token-1"), (timedelta(minutes=1), "token-2"), (timedelta(seconds=-5), "token-2")],
)
def test_a_token_that_nears_its_end_is_renewed(left: timedelta, token: str) -> None:
    """An hour is enough for an upload; a minute is not: the token that goes with it is a new one."""
    session = Session(Counting(left))
    assert session.token() == token
    assert session.token() == token, "and it is kept"


def test_a_fresh_one_on_demand() -> None:
    """After a 401 the token is renewed, whatever its expiry says."""
    session = Session(Counting(timedelta(hours=1)))
    assert session.token(fresh=True) == "token-2"
