"""Time as a parameter: waits that a test can hand in, and that `on_kill` can end."""

from __future__ import annotations

import threading
import time

from airflow_gar_provider.errors import InterruptedWaitError


class Clock:
    """The machine's clock. Airflow's SIGTERM only calls `on_kill`: a wait has to be one that `stop` can end."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait. Raises InterruptedWaitError when the task is killed meanwhile."""
        if self._stopped.wait(seconds):
            raise InterruptedWaitError("the task was killed while it waited")

    def stop(self) -> None:
        """End the wait in progress, and every later one."""
        self._stopped.set()
