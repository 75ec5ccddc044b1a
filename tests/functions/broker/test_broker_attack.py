"""What a presubmit VM whose job is root can get: from the original fleet's token proxy, and from the broker.

Root on a VM can mint every identity token that is its own: any audience, any time. It can send anything to the broker.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.functions.broker.broker_service import (
    ACCOUNTS,
    AUDIENCE,
    POSTSUBMIT,
    POSTSUBMIT_JOBS,
    PRESUBMIT,
    PRESUBMIT_JOBS,
    BrokerService,
    table,
)


@dataclass
class TokenProxy:
    """The contract of the original's proxy: a registration or remove token of the whole organisation, for any VM.

    After its description (POST /register, /remove with a scope; no authorization inside), and after GitHub's rule that
    whoever has a registration token chooses name, group and labels.
    """

    organization: str
    runners: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    _tokens: dict[str, str] = field(default_factory=dict)

    def call(self, path: str, scope: str) -> dict[str, str]:
        assert path in {"/register", "/remove"}
        assert scope == self.organization
        token = f"AAAA{len(self._tokens)}"
        self._tokens[token] = path
        return {"token": token}

    def configure(self, token: str, name: str, group: str, labels: tuple[str, ...]) -> None:
        assert self._tokens[token] == "/register"
        self.runners[name] = group, labels

    def remove(self, token: str, name: str) -> None:
        assert self._tokens[token] == "/remove"
        del self.runners[name]


def test_the_original_proxy_lets_a_presubmit_vm_into_the_postsubmit_group_and_remove_anybody():
    proxy = TokenProxy("iree-org", {"honest-postsubmit": ("postsubmit", ("cpu",))})
    proxy.configure(proxy.call("/register", "iree-org")["token"], "rogue", "postsubmit", ("trust=basic", "cpu"))
    assert proxy.runners["rogue"] == ("postsubmit", ("trust=basic", "cpu"))
    proxy.remove(proxy.call("/remove", "iree-org")["token"], "honest-postsubmit")
    assert list(proxy.runners) == ["rogue"]


def spoil(token: str, **changes) -> str:
    """A token with another payload under the old signature."""
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    for name, value in changes.items():
        place = claims["google"]["compute_engine"] if name in claims["google"]["compute_engine"] else claims
        place[name] = value
    return ".".join((head, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature))


def attacks(service: BrokerService, vm, victim) -> dict[str, Callable[[], int]]:
    """Everything that such a VM can send, with its own good tokens and with forged ones."""
    own = service.token(vm)
    send = service.send
    headers = {"Content-Type": "application/json"}
    wishes = [
        {"runner_group": "postsubmit"}, {"runner_group_id": 3}, {"labels": ["trust=basic"]}, {"name": "rogue"},
        {"scope": "iree-org"}, {"instance_id": victim.id}, {"runner_id": 1}, {"zone": "us-west1-b"},
        {"pool": "postsubmit-jobs"}, {"scale_set": "gh-runner-postsubmit-jobs"}, {"scale_set_id": 5},
        {"runner_name": victim.name}, {"workFolder": "/"},
    ]  # fmt: skip
    sent: dict[str, Callable[[], int]] = {"plain": lambda: send(token=own).status}
    for wish in wishes:
        body = json.dumps(wish).encode()
        for path in ("/jit", "/deregister"):
            sent[f"{path} {wish}"] = lambda p=path, b=body: send(path=p, token=own, body=b, headers=headers).status
        query = "&".join(f"{key}={value}" for key, value in wish.items() if isinstance(value, str))
        sent[f"query {wish}"] = lambda q=query: send(path=f"/jit?{q}", token=own).status
        sent[f"demand {wish}"] = lambda q=query or "id=1": send("GET", f"/demand?{q}", token=own).status
    for path in (
        "/register",
        "/remove",
        "/jit/postsubmit",
        "/demand/postsubmit-jobs",
        "/deregister/1",
        f"/deregister/{victim.name}",
        "/jit;x=1",
    ):
        sent[path] = lambda p=path: send(path=p, token=own).status
    for name in ("X-Runner-Group", "X-Goog-Authenticated-User-Email", "X-Forwarded-For", "X-HTTP-Method-Override",
                 "X-Original-URL", "Forwarded", "X-Serverless-Authorization"):  # fmt: skip
        sent[name] = lambda n=name: send(token=own, headers={n: "postsubmit"}).status
    forged = {
        "victim's id": {"instance_id": victim.id, "instance_name": victim.name},
        "victim's account": {"email": ACCOUNTS[POSTSUBMIT]},
        "later end": {"exp": 4_000_000_000},
    }
    for what, changes in forged.items():
        for path in ("/jit", "/deregister"):
            sent[f"{path} altered {what}"] = lambda p=path, c=changes: send(path=p, token=spoil(own, **c)).status
            for how in ({"alg": "none"}, {"alg": "HS256"}, {"key": "mallory"},
                        {"key": "mallory", "kid": service.site.google.keys.current.kid}):  # fmt: skip
                forgery = service.token(vm, **changes, **how)
                sent[f"{path} {what} {how}"] = lambda p=path, t=forgery: send(path=p, token=t).status
    for audience in ("https://github.com/iree-org", AUDIENCE.replace("broker", "deleter"), AUDIENCE + "?x", ""):
        sent[f"audience {audience}"] = lambda a=audience: send(token=service.token(vm, audience=a)).status
    for number in range(5):
        sent[f"own token, minted anew {number}"] = lambda n=number: (
            send(token=service.token(vm, iat=1 + int(vm.created) + n)).status
        )
    return sent


PAIRS = [(PRESUBMIT, POSTSUBMIT), (PRESUBMIT_JOBS, POSTSUBMIT_JOBS)]
"""Groups of an attacker and of its victim."""


@pytest.mark.parametrize(("attacker", "attacked"), PAIRS)
def test_a_presubmit_vm_with_root_gets_its_own_registration_once_and_nothing_else(service, attacker, attacked):
    victim = service.vm(attacked)
    assert service.jit(victim).status == 200
    vm = service.vm(attacker)
    everything = list(attacks(service, vm, victim).values())
    outcomes = [attack() for attack in everything]
    with ThreadPoolExecutor(20) as pool:
        outcomes += pool.map(lambda attack: attack(), everything)
    print(f"{len(outcomes)} requests, {sum(status == 200 for status in outcomes)} with a configuration")  # noqa: T201 - the figures of the claim
    mine, theirs = service.runner(vm), service.runner(victim)
    assert sorted(service.site.github.runners) == sorted([mine.name, theirs.name])
    scale_set = service.site.github.scale_sets.by_name(table()["groups"][attacker]["scale_set"])
    assert mine.scale_set_id == (scale_set.id if scale_set else 0)
    assert mine.group_id == service.site.github.groups["presubmit"].id
    assert "runner-group=presubmit" in mine.labels
    assert not [label for label in mine.labels if "postsubmit" in label or "basic" in label]
    assert service.site.github.gone == []
    assert len(service.site.asked("github.jit")) + len(service.site.asked("github.scale_sets.jit")) == 2
    assert outcomes.count(200) == 1


@pytest.mark.parametrize(("attacker", "attacked"), PAIRS)
def test_after_it_deregistered_itself_it_gets_no_other_and_the_victim_stays(service, attacker, attacked):
    victim, vm = service.vm(attacked), service.vm(attacker)
    assert service.jit(victim).status == 200
    assert service.jit(vm).status == 200
    assert service.deregister(vm).status == 200
    assert service.jit(vm).error == "grant_taken"
    assert list(service.site.github.runners) == [service.runner(victim).name]


@pytest.mark.parametrize("claims", ["victim's group", "victim's scale set"])
def test_a_vm_whose_metadata_says_that_it_is_of_the_victims_pool_is_refused(service, claims):
    """Root writes a VM's own metadata where the account may, and what it writes there counts for nothing."""
    vm = service.vm(PRESUBMIT_JOBS)
    if claims == "victim's group":
        vm.metadata["created-by"] = service.site.google.groups[POSTSUBMIT_JOBS].created_by
        assert service.jit(vm).error == "account_wrong"
    else:
        vm.metadata |= {"runner-pool": "postsubmit-jobs", "scale-set": "gh-runner-postsubmit-jobs"}
        assert service.jit(vm).status == 200
        assert service.runner(vm).group_id == service.site.github.groups["presubmit"].id
    theirs = service.site.github.scale_sets.by_name("gh-runner-postsubmit-jobs")
    assert theirs is not None
    assert not theirs.runners


@pytest.mark.parametrize("group", [PRESUBMIT, PRESUBMIT_JOBS])
def test_registering_and_deregistering_at_once_gives_no_second_configuration(service, group):
    vm = service.vm(group)
    with ThreadPoolExecutor(20) as pool:
        calls = [service.jit, service.deregister] * 20
        replies = list(pool.map(lambda call: call(vm), calls))
    assert sum("jit_config" in reply.body for reply in replies) == 1
    assert len(service.site.github.runners) <= 1


@pytest.mark.parametrize("other", [PRESUBMIT, POSTSUBMIT, POSTSUBMIT_JOBS])
def test_a_token_that_was_stolen_from_another_vm_gets_that_vms_own_registration_alone(service, other):
    """Whoever holds a VM's token is that VM to everybody: it gets that VM's name and group, and only once."""
    victim = service.vm(other)
    stolen = service.token(victim)
    assert service.send(token=stolen).status == 200
    assert service.jit(victim).error == "grant_taken"
    assert list(service.site.github.runners) == [service.runner(victim).name]
