"""What happened to jobs: for records, and to know which VMs are busy. Never for how many VMs are wanted.

Messages come at least once, may be missing, late and out of order, so everything is by job id and nothing is counted.
That a job completed is no permission to end a VM: GitHub has said so of jobs that still ran.
"""

from __future__ import annotations

import datetime
import re
from collections import OrderedDict
from collections.abc import Collection
from typing import Any, Final

from scaleset import JobCompleted, JobMessage, JobStarted

from .records import Records

REMEMBERED: Final = 2000
"""Job ids of a pool that are kept apart from repeats: a message is repeated within minutes."""
_SUFFIX: Final = re.compile(r".*-([0-9a-z]{1,13})")


def instance_id(runner_name: str) -> str:
    """The id of a runner's VM, which its name ends in, in base 36; empty where it does not.

    The broker names it so, because the scale set's call takes a name and no labels.
    """
    match = _SUFFIX.fullmatch(runner_name)
    return str(int(match[1], 36)) if match else ""


class Jobs:
    """The jobs of one pool."""

    def __init__(self, pool: str, records: Records) -> None:
        self._pool = pool
        self._records = records
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._busy: dict[str, str] = {}
        """Job id to the id of the VM that has it."""

    def note(self, job: JobMessage) -> None:
        """Take a message, for the first time or again."""
        if not isinstance(job, JobStarted | JobCompleted):
            return
        vm = instance_id(job.runner_name)
        if isinstance(job, JobStarted):
            if vm and ("job completed", job.job_id) not in self._seen:
                self._busy[job.job_id] = vm
            if self._first("job started", job.job_id):
                self._started(job)
        else:
            self._busy.pop(job.job_id, None)
            if self._first("job completed", job.job_id):
                self._completed(job)

    def busy(self, ids: Collection[str]) -> int:
        """How many of these VMs are known to have a job."""
        return len(set(self._busy.values()) & set(ids))

    def forget_all_but(self, ids: Collection[str]) -> None:
        """VMs that are gone have no job: what says that theirs ended may never come."""
        self._busy = {job: vm for job, vm in self._busy.items() if vm in ids}

    def _first(self, what: str, job_id: str) -> bool:
        key = (what, job_id)
        if key in self._seen:
            return False
        self._seen[key] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _started(self, job: JobStarted) -> None:
        self._records.say(
            "job started",
            pool=self._pool,
            job_id=job.job_id,
            runner=job.runner_name,
            **_seconds("queue_seconds", job.queue_time, job.runner_assign_time),
            **_seconds("assign_seconds", job.queue_time, job.scale_set_assign_time),
            **_seconds("start_seconds", job.scale_set_assign_time, job.runner_assign_time),
        )

    def _completed(self, job: JobCompleted) -> None:
        self._records.say(
            "job completed",
            pool=self._pool,
            job_id=job.job_id,
            result=job.result,
            **_seconds("run_seconds", job.runner_assign_time, job.finish_time),
        )


def _seconds(name: str, begin: datetime.datetime | None, end: datetime.datetime | None) -> dict[str, Any]:
    """A duration, left out where one of its ends is not known: 0 would be a measurement."""
    if begin is None or end is None:
        return {}
    return {name: round((end - begin).total_seconds(), 3)}
