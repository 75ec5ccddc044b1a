"""Jobs that no scale set has yet, found by the labels that they want."""

from __future__ import annotations

from collections.abc import Iterator

from emulators.github.scale_sets.job import QueuedJob
from emulators.github.scale_sets.scale_set import ScaleSet

Key = tuple[frozenset[str], str]
"""A job's labels in small letters, and its repository."""


class JobQueue:
    """Jobs of the same labels and repository wait in one row, so that nobody looks at every job."""

    def __init__(self) -> None:
        self._rows: dict[Key, dict[str, QueuedJob]] = {}
        self._suited: dict[int, list[Key]] = {}
        """By scale set: the rows whose labels it has. Made when asked for."""

    def put(self, job: QueuedJob) -> None:
        """Let a job wait."""
        key = _key(job)
        if key not in self._rows:
            self._rows[key] = {}
            self._suited.clear()
        self._rows[key][job.id] = job

    def drop(self, job: QueuedJob) -> None:
        """Have it wait no more."""
        self._rows.get(_key(job), {}).pop(job.id, None)

    def forget(self, scale_set: ScaleSet) -> None:
        """A set's labels are others than before."""
        self._suited.pop(scale_set.id, None)

    def first(self, scale_set: ScaleSet) -> QueuedJob | None:
        """The job that waits longest of those that a set may have."""
        heads = [next(iter(row.values())) for row in self._of(scale_set) if row]
        return min(heads, key=lambda job: job.number) if heads else None

    def all(self, scale_set: ScaleSet) -> Iterator[QueuedJob]:
        """The jobs that a set may have."""
        for row in self._of(scale_set):
            yield from row.values()

    def _of(self, scale_set: ScaleSet) -> list[dict[str, QueuedJob]]:
        keys = self._suited.get(scale_set.id)
        if keys is None:
            labels = frozenset(label.lower() for label in scale_set.labels)
            keys = self._suited[scale_set.id] = [key for key in self._rows if key[0] <= labels]
        return [self._rows[key] for key in keys if scale_set.serves(key[1])]


def _key(job: QueuedJob) -> Key:
    return frozenset(label.lower() for label in job.labels), job.repository
