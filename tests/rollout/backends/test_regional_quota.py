"""A region's quota as a limit of a run, by what Google shows of it."""

from __future__ import annotations

import asyncio

import pytest

from emulators.site import Site
from rollout.backends.fake import Fake
from rollout.backends.quota import RegionalQuota
from rollout.cloud.errors import CloudError
from rollout.cloud.google import Google
from rollout.engine.limits import Limits
from rollout.engine.run import Run
from rollout.engine.spec import Plan, Step

CPUS = ("us-west1", "CPUS")


@pytest.fixture
def site():
    with Site(seed=7) as site:
        site.google.compute.quotas[CPUS] = (200.0, 150.0)
        yield site


@pytest.fixture
def using(site, monkeypatch):
    monkeypatch.setattr("rollout.cloud.service.FIRST_PAUSE_SECONDS", 0.0)

    def run(use, **options):
        async def main():
            async with (
                Google("iree-oss", environ=site.operator_environment()) as google,
                RegionalQuota(google, *CPUS, **options) as quota,
            ):
                return await use(quota)

        return asyncio.run(main())

    return run


def test_the_units_are_what_others_leave(using):
    async def use(quota):
        return quota.units()

    assert using(use) == 50
    assert using(use, held=lambda: 96) == 146


def test_a_quota_that_is_used_up_by_more_than_there_is_leaves_nothing(site, using):
    site.google.compute.quotas[CPUS] = (100.0, 300.0)

    async def use(quota):
        return quota.units()

    assert using(use) == 0


def test_a_change_is_told_once_and_by_itself(site, using):
    told: list[int | None] = []

    async def use(quota):
        heard = asyncio.Event()

        def changed():
            told.append(quota.units())
            heard.set()

        end = quota.subscribe(changed)
        await quota.refresh()
        assert not told
        site.google.compute.quotas[CPUS] = (200.0, 10.0)
        await asyncio.wait_for(heard.wait(), 30)
        end()
        site.google.compute.quotas[CPUS] = (200.0, 20.0)
        await quota.refresh()
        return quota.units()

    assert using(use, look_seconds=0.001) == 180
    assert told == [190]


def test_a_look_that_fails_leaves_what_the_last_one_saw(site, using):
    async def use(quota):
        site.google.compute.quotas_shown = False
        with pytest.raises(CloudError) as caught:
            await quota.refresh()
        return caught.value.error_class, quota.units()

    assert using(use) == ("unavailable", 50)


def test_a_quota_that_the_region_does_not_have_is_not_found(site, using):
    del site.google.compute.quotas[CPUS]
    with pytest.raises(CloudError, match="has no such quota") as caught:
        using(lambda quota: quota.refresh())
    assert caught.value.error_class == "not-found"


def test_a_step_waits_for_the_quota_and_goes_once_others_have_left_it(site, using):
    async def use(quota):
        fake = Fake()
        plan = Plan(name="q", steps=(Step(id="vm", backend="fake", uses={"cpus": 96}),))
        run = asyncio.ensure_future(Run(plan, {"fake": fake}, limits=Limits(resources={"cpus": quota})).execute())
        for _ in range(20):
            await asyncio.sleep(0)
        before = fake.order()
        site.google.compute.quotas[CPUS] = (200.0, 0.0)
        report = await asyncio.wait_for(run, 30)
        return before, report.verdict, fake.order()

    assert using(use, look_seconds=0.01) == ([], "passed", ["vm"])
