"""An access token is renewed before it ends, not after a call has failed with it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from google.auth.credentials import Credentials

from airflow_gar_provider.errors import NotFoundError, UnavailableError
from airflow_gar_provider.gcp.session import Session, read_again


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


def test_a_read_is_made_again_while_google_is_away() -> None:
    """A moment's outage is not seen; what is no outage is not tried again."""
    answers: list[Exception | str] = [UnavailableError("away"), "here"]

    def read() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert read_again(read) == "here"
    answers[:] = [NotFoundError("no such thing"), "never asked"]
    with pytest.raises(NotFoundError, match="no such thing"):
        read_again(read)
    assert answers == ["never asked"]
