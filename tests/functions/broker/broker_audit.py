"""What must hold for a VM after any request, whatever went wrong: read from the clouds' own state."""

from __future__ import annotations

from broker.app import MESSAGES

from emulators.google.instance import Instance
from tests.functions.broker.broker_service import BrokerService, Reply

REFUSALS = {"instance_gone": 403, "grant_taken": 409, "name_taken": 409, "audience_wrong": 401}
"""Those that a lying service may bring about for a good caller."""


def runners_of(service: BrokerService, vm: Instance):
    """The runners at GitHub that were made for a VM."""
    return service.runners(vm)


def audit(service: BrokerService, vm: Instance, reply: Reply) -> str:
    """Check the invariant once faults have passed; how it ended: `given`, `free` or `refused`."""
    status, error = reply.status, reply.error
    expected = 200 if not error else REFUSALS.get(error) or MESSAGES[error][0]
    assert status == expected, (status, error)
    assert error != "internal", service.lines[-1]
    assert ("retry-after" in reply.headers) == (status > 500)
    told = "" if status == 200 else reply.raw.decode()
    assert not [secret for secret in service.secrets() if secret in service.log_text() + told]
    grant, runners = service.grant(vm), runners_of(service, vm)
    service.calm()
    again = service.jit(vm)
    if status == 200:
        assert [runner.id for runner in runners] == [reply.body["runner_id"]]
        assert service.site.github.groups["presubmit"].id == runners[0].group_id
        assert grant is not None
        assert (again.status, again.error) == (409, "grant_taken")
        return "given"
    if grant is None:
        assert runners == [], "a runner was left behind, and nothing names it"
        assert again.status == 200, again.raw
        assert len(runners_of(service, vm)) == 1
        return "free"
    assert len(runners) <= 1
    assert (grant["instance"], grant["instance_id"]) == (vm.name, vm.id), "whoever clears up needs the runner's name"
    assert (again.status, again.error) == (409, "grant_taken")
    return "refused"
