"""What GitHub's Actions service sends, typed.

Tolerant as GitHub's own client in Go is (actions/scaleset v0.4.0): fields that nobody knows are ignored, missing ones
and null have a default, and the case of a key does not matter. Strict in what remains: a number is a number of 64 bits,
a text a text. A time that cannot be read is None instead: times are for measurements, and no message is lost over one.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    model_validator,
)

from .errors import UnreadableAnswerError, UnreadableMessageError
from .transport import decode_json

MESSAGE_TYPE: Final = "RunnerScaleSetJobMessages"


def _time(value: Any) -> datetime.datetime | None:
    """A time with its zone. GitHub's zero time, 0001-01-01, stands for one that was not reached."""
    if isinstance(value, datetime.datetime):
        return value
    try:
        time = datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo is not None and time.year > 1 else None


Integer = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)]
Time = Annotated[datetime.datetime | None, BeforeValidator(_time)]


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def fold(value: Any) -> Any:
    """An object's keys without regard to case and underscores; what is null is as if it were not there."""
    if not isinstance(value, dict):
        return value
    fields = cast("dict[Any, Any]", value)
    return {_folded(str(key)): field for key, field in fields.items() if field is not None}


class Wire(BaseModel):
    """Something in a body. Its fields are also known by their names here, for whoever makes one in Python."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=_folded, validate_by_name=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, value: Any) -> Any:
        return fold(value)


class Statistics(Wire):
    """A scale set's counters. `total_assigned_jobs` counts jobs that wait and jobs that run: the scaling input."""

    total_available_jobs: Integer = 0
    total_acquired_jobs: Integer = 0
    total_assigned_jobs: Integer = 0
    total_running_jobs: Integer = 0
    total_registered_runners: Integer = 0
    total_busy_runners: Integer = 0
    total_idle_runners: Integer = 0


class JobMessage(Wire):
    """What happened to a job. `job_id` is its only stable key: `runner_request_id` is 0 on github.com."""

    message_type: ClassVar[str] = ""

    runner_request_id: Integer = 0
    job_id: StrictStr = ""
    repository_name: StrictStr = ""
    owner_name: StrictStr = ""
    job_workflow_ref: StrictStr = ""
    job_display_name: StrictStr = ""
    workflow_run_id: Integer = 0
    event_name: StrictStr = ""
    request_labels: tuple[StrictStr, ...] = ()
    queue_time: Time = None
    scale_set_assign_time: Time = None
    runner_assign_time: Time = None
    finish_time: Time = None


class JobAvailable(JobMessage):
    """An offer, on a GitHub Enterprise Server: whoever acquires it gets the job."""

    message_type: ClassVar[str] = "JobAvailable"

    acquire_job_url: StrictStr = ""


class JobAssigned(JobMessage):
    """The job counts against this scale set and has no runner yet."""

    message_type: ClassVar[str] = "JobAssigned"


class JobStarted(JobMessage):
    """That runner has the job."""

    message_type: ClassVar[str] = "JobStarted"

    runner_id: Integer = 0
    runner_name: StrictStr = ""


class JobCompleted(JobMessage):
    """The job ended, GitHub thinks. It is no permission to delete a machine: it has come for jobs that still ran.

    `result` was seen as `succeeded`, `failed` and `canceled`; no runner is named where none ever took the job.
    """

    message_type: ClassVar[str] = "JobCompleted"

    result: StrictStr = ""
    runner_id: Integer = 0
    runner_name: StrictStr = ""


_JOBS: Final = {kind.message_type: kind for kind in (JobAvailable, JobAssigned, JobStarted, JobCompleted)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message: counters, and what happened to at most 50 jobs. `body` is the text that held the jobs."""

    message_id: int
    statistics: Statistics | None
    jobs: tuple[JobMessage, ...]
    body: str


class _Envelope(Wire):
    message_id: Annotated[int, Field(strict=True, gt=0, le=2**63 - 1)]
    message_type: StrictStr = ""
    body: StrictStr = ""
    statistics: Statistics | None = None


class RunnerGroup(Wire):
    """A runner group."""

    id: Integer
    name: StrictStr = ""
    is_default: StrictBool = Field(default=False, validation_alias="isdefaultgroup")


class Runner(Wire):
    """A runner as the Actions service knows it."""

    id: Integer
    name: StrictStr = ""
    scale_set_id: Integer = Field(default=0, validation_alias="runnerscalesetid")


class JitConfig(Wire):
    """A runner's just-in-time configuration, and the runner that is registered with it. `encoded` is a secret."""

    runner: Runner
    encoded: StrictStr = Field(validation_alias="encodedjitconfig", repr=False, min_length=1)


class ScaleSet(Wire):
    """A scale set as the service has it."""

    id: Integer
    name: StrictStr = ""
    runner_group_id: Integer = 0
    runner_group_name: StrictStr = ""
    labels: tuple[StrictStr, ...] = ()
    disable_update: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, value: Any) -> Any:
        """Labels are objects there, and the one setting lies in an object of its own."""
        fields = fold(value)
        if not isinstance(fields, dict):
            return fields
        flat = cast("dict[str, Any]", fields)
        setting = fold(flat.pop("runnersetting", None))
        if isinstance(setting, dict) and "disableupdate" in setting:
            flat["disableupdate"] = cast("dict[str, Any]", setting)["disableupdate"]
        labels = flat.get("labels")
        if isinstance(labels, list):
            flat["labels"] = tuple(_label(label) for label in cast("list[Any]", labels))
        return flat


class SessionAnswer(Wire):
    """What opening or refreshing a session is answered with; the token is a secret."""

    session_id: StrictStr = ""
    owner_name: StrictStr = ""
    runner_scale_set: ScaleSet | None = None
    message_queue_url: StrictStr = ""
    message_queue_access_token: StrictStr = Field(default="", repr=False)
    statistics: Statistics | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSetSpec:
    """What a scale set shall be. Its name is always one of its labels.

    A job runs here when its `runs-on` names labels of this set; a scale set's runners have no others, neither
    `self-hosted` nor `linux`. With `disable_update` a runner takes its job before it updates itself.
    """

    name: str
    runner_group: str = "default"
    labels: tuple[str, ...] = ()
    disable_update: bool = True

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name is empty: a scale set needs one")
        if any(not label for label in self.labels):
            raise ValueError(f"labels of scale set {self.name!r} hold an empty one: leave it out")
        unique = dict.fromkeys((self.name, *self.labels))
        object.__setattr__(self, "labels", tuple(unique))


def parse_message(raw: bytes) -> Message | None:
    """The message in the body of a 200; None where that is empty, which GitHub has sent for "nothing".

    Elements of an unknown type are left out. Raises UnreadableMessageError, and nothing else whatever the bytes are.
    """
    if not raw.removeprefix(b"\xef\xbb\xbf").strip():
        return None
    value = decode_json(raw)
    try:
        envelope = _Envelope.model_validate(value)
        if envelope.message_type != MESSAGE_TYPE:
            raise _unreadable(value, raw)
        elements: Any = decode_json(envelope.body.encode()) if envelope.body else []
        if not isinstance(elements, list):
            raise _unreadable(value, raw)
        jobs = tuple(_jobs(cast("list[Any]", elements)))
    except (ValidationError, ValueError):
        raise _unreadable(value, raw) from None
    return Message(message_id=envelope.message_id, statistics=envelope.statistics, jobs=jobs, body=envelope.body)


def _jobs(elements: Sequence[Any]) -> list[JobMessage]:
    """Raises ValueError."""
    jobs: list[JobMessage] = []
    for element in elements:
        kind = _Kind.model_validate(element).message_type
        if kind in _JOBS:
            jobs.append(_JOBS[kind].model_validate(element))
    return jobs


class _Kind(Wire):
    message_type: StrictStr = ""


class _Id(Wire):
    message_id: Annotated[int, Field(strict=True, gt=0, le=2**63 - 1)]


def _unreadable(value: Any, raw: bytes) -> UnreadableMessageError:
    try:
        message_id = _Id.model_validate(value).message_id
    except ValidationError:
        message_id = 0
    return UnreadableMessageError(message_id, raw.decode("utf-8", errors="backslashreplace"))


def _label(label: Any) -> Any:
    """A label's name; a bare text is one. Anything else is left for the field's own check."""
    if isinstance(label, dict):
        return fold(label).get("name", label)
    return label


_W = TypeVar("_W", bound=Wire)


def decode(kind: type[_W], value: Any, doing: str) -> _W:
    """A body's value as what it shall be. Raises UnreadableAnswerError."""
    try:
        return kind.model_validate(value)
    except ValidationError:
        raise UnreadableAnswerError(f"{doing}: the answer has not the form of a {kind.__name__}", status=200) from None


def decode_list(kind: type[_W], value: Any, doing: str) -> list[_W]:
    """A list's elements: `{"count": …, "value": […]}`. The count is not asked: the list says it. As `decode`."""
    listed = fold(value)
    elements: Any = cast("dict[str, Any]", listed).get("value", []) if isinstance(listed, dict) else None
    if not isinstance(elements, list):
        raise UnreadableAnswerError(f"{doing}: the answer is no list", status=200)
    return [decode(kind, element, doing) for element in cast("list[Any]", elements)]
