"""What a trigger says: Airflow 3 logs through structlog to standard output, Airflow 2 through `logging`."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """The lines that were logged since the last call."""
    caplog.set_level("INFO")

    def read() -> list[str]:
        printed, logged = capsys.readouterr().out.splitlines(), [record.getMessage() for record in caplog.records]
        caplog.clear()
        return logged or printed

    return read
