"""Where the tries of steps hand in what they have to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rollout.engine.backend import Outcome
from rollout.engine.events import Kind
from rollout.engine.means import Means
from rollout.engine.record import Record
from rollout.engine.supervise import Try


class StepDesk:
    """See `supervise.Desk`. What changes a step is put off to the engine's own task."""

    def __init__(self, records: Mapping[str, Record], means: Means, take: Callable[[Try, Outcome], None]) -> None:
        self._records = records
        self._means = means
        self._take = take

    async def attached(self, attempt: Try, external_id: str, link: str) -> None:
        """The journal has it, and then observers."""
        record, means = self._records[attempt.step_id], self._means
        record.link = link or record.link
        means.note("attach", step=attempt.step_id, id=external_id, link=record.link)
        await means.commit()
        data = {"external_id": external_id, "link": record.link}
        means.bus.publish(Kind.ATTACHED, step=attempt.step_id, data=data)

    def progressed(self, attempt: Try, text: str) -> None:
        """For observers only."""
        self._means.bus.publish(Kind.PROGRESS, step=attempt.step_id, data={"text": text})

    def over(self, attempt: Try, outcome: Outcome) -> None:
        """It is taken up in the next turn."""
        self._means.post(self._take, attempt, outcome)

    def fault(self, text: str) -> None:
        """For the report."""
        self._means.fault(text)
