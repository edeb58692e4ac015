"""Freeze windows: times in which no environment is begun."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_gar_provider.errors import InvalidInputError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MIDNIGHT = "24:00"


@dataclass(frozen=True)
class Freeze:
    """One window, once or every week. The end itself is not frozen."""

    reason: str
    """For people: it is shown beside every environment that is not begun."""
    begin: datetime | time
    """A moment, or the time of day at which a weekly window begins."""
    end: datetime | time
    """A moment, or a time of day: on the next day when it is not after `begin`."""
    days: tuple[str, ...] = ()
    """Days of the week on which a weekly window begins, of `DAYS`; empty for a window that comes once."""
    timezone: str = "UTC"
    """An IANA name, for times without an offset of their own."""
    stages: tuple[str, ...] = ()
    """The stages that are frozen; empty for all."""

    @classmethod
    def parse(
        cls,
        begin: str,
        end: str,
        reason: str,
        *,
        days: tuple[str, ...] = (),
        timezone: str = "UTC",
        stages: tuple[str, ...] = (),
    ) -> Freeze:
        """Read dates, times with or without an offset, or (with `days`) times of day. Raises InvalidInputError."""
        try:
            zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InvalidInputError(f"{timezone!r} is not the name of a time zone, such as Europe/Berlin") from error
        if days:
            unknown = [day for day in days if day not in DAYS]
            if unknown:
                raise InvalidInputError(f"{', '.join(unknown)}: days of the week are {', '.join(DAYS)}")
            return cls(reason, _time_of_day(begin), _time_of_day(end), days, timezone, stages)
        first, last = _moment(begin, zone), _moment(end, zone)
        if last <= first:
            raise InvalidInputError(f"the freeze ends ({end}) before it begins ({begin})")
        return cls(reason, first, last, (), timezone, stages)

    def to_json(self) -> dict[str, Any]:
        """Plain values, from which `from_json` makes the same window."""
        return {
            "begin": self.begin.isoformat(),
            "end": self.end.isoformat(),
            "reason": self.reason,
            "days": list(self.days),
            "timezone": self.timezone,
            "stages": list(self.stages),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Freeze:
        """Read what `to_json` made. Raises KeyError, TypeError or InvalidInputError for anything else."""
        days, stages = tuple(value["days"]), tuple(value["stages"])
        return cls.parse(
            value["begin"], value["end"], value["reason"], days=days, timezone=value["timezone"], stages=stages
        )

    def covers(self, now: datetime, stage: str) -> bool:
        """Whether `now` (with an offset) is inside the window, for a stage."""
        if self.stages and stage not in self.stages:
            return False
        if isinstance(self.begin, datetime) and isinstance(self.end, datetime):
            return self.begin <= now < self.end
        assert isinstance(self.begin, time)
        assert isinstance(self.end, time)
        zone = ZoneInfo(self.timezone)
        today = now.astimezone(zone).date()
        for day in (today, today - timedelta(days=1)):
            if DAYS[day.weekday()] not in self.days:
                continue
            last = day if self.end > self.begin else day + timedelta(days=1)
            begin = datetime.combine(day, self.begin, zone)
            if begin <= now < datetime.combine(last, self.end, zone):
                return True
        return False


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        # Python 3.10 reads no Z.
        found = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text.strip()))
    except ValueError as error:
        raise InvalidInputError(f"{text!r} is no date or time, such as 2026-12-20 or 2026-12-20T18:00+01:00") from error
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _time_of_day(text: str) -> time:
    if text.strip() == _MIDNIGHT:
        return time(0)
    try:
        found = time.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidInputError(f"{text!r} is no time of day, such as 18:00") from error
    if found.tzinfo:
        raise InvalidInputError(f"{text!r}: a time of day on some days has no offset", remedy="say it by `timezone`")
    return found


def frozen(freezes: tuple[Freeze, ...], now: datetime, stage: str) -> Freeze | None:
    """The first window that covers `now` for the stage, or None."""
    return next((freeze for freeze in freezes if freeze.covers(now, stage)), None)
