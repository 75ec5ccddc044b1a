"""Who calls the functions that run by the clock: one account, and jobs of Cloud Scheduler that act as it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_gcp import cloudrunv2, cloudscheduler, serviceaccount

from components.proxy_function import ProxyFunction
from fleet.services import SERVICES, ScheduledCall
from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSchedulesArgs:
    """`functions` maps a service's role to its function, for every service that the clock calls."""

    settings: Settings
    functions: Mapping[str, ProxyFunction]


class FunctionSchedules(pulumi.ComponentResource):
    """One account that may call these functions and do nothing else, and each function's jobs.

    A call that fails is not tried again: the next one is never far, and two of one job at once would be one too many.
    """

    account_email: pulumi.Output[str]

    def __init__(self, name: str, args: FunctionSchedulesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:FunctionSchedules", name, None, opts)
        settings = args.settings
        account = serviceaccount.Account(
            f"{name}-account",
            account_id=settings.names.account("scheduler"),
            display_name="Calls the functions that run by the clock, and does nothing else",
            opts=pulumi.ResourceOptions(parent=self),
        )
        for service in SERVICES:
            if not service.calls:
                continue
            function = args.functions[service.role]
            allowed = cloudrunv2.ServiceIamMember(
                f"{name}-calls-{service.role}",
                project=settings.names.project,
                location=settings.google.services_region,
                name=function.run_service,
                role="roles/run.invoker",
                member=account.member,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for call in service.calls:
                self._job(f"{name}-{call.name}", call, function, account, allowed, settings)
        self.account_email = account.email
        self.register_outputs({"account_email": self.account_email})

    def _job(
        self,
        name: str,
        call: ScheduledCall,
        function: ProxyFunction,
        account: serviceaccount.Account,
        allowed: cloudrunv2.ServiceIamMember,
        settings: Settings,
    ) -> None:
        cloudscheduler.Job(
            name,
            name=settings.names.of(call.name),
            region=settings.google.services_region,
            description=f"Calls {settings.names.of(call.name)}",
            schedule=call.cron,
            time_zone="Etc/UTC",
            attempt_deadline=f"{call.deadline_seconds}s",
            retry_config=cloudscheduler.JobRetryConfigArgs(retry_count=0),
            http_target=cloudscheduler.JobHttpTargetArgs(
                uri=function.uri,
                http_method="POST",
                oidc_token=cloudscheduler.JobHttpTargetOidcTokenArgs(
                    service_account_email=account.email, audience=function.uri
                ),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[allowed]),
        )
