"""A function that acts for VMs: its identity, its few permissions, its records, its code, and who may call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
from pulumi_gcp import cloudfunctionsv2, cloudrunv2, projects, serviceaccount, storage

from components.function_builds import FunctionBuilds
from fleet import services
from fleet.services import Service
from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFunctionArgs:
    """`archive` is a zip named by its digest; `invokers` maps a trust level to the member that may call."""

    settings: Settings
    service: Service
    archive: Path
    builds: FunctionBuilds
    invokers: Mapping[str, pulumi.Input[str]]


class ProxyFunction(pulumi.ComponentResource):
    """One function of the second generation; the component's name is the service's role.

    Reached from the project's own networks only, by the runners' accounts only; what a caller may do once it is in is
    the function's own business. Its records are not protected: without them no VM can do harm, but none can register
    again or leave until it is replaced.
    """

    account_member: pulumi.Output[str]
    uri: pulumi.Output[str]

    def __init__(self, name: str, args: ProxyFunctionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:ProxyFunction", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings, service, names = args.settings, args.service, args.settings.names
        account = serviceaccount.Account(
            f"{name}-account", account_id=names.account(service.role), display_name=service.meaning, opts=child
        )
        self._permissions(name, args, account)
        self._records(name, args, account)
        code = storage.BucketObject(
            f"{name}-source",
            bucket=args.builds.source_bucket,
            name=args.archive.name,
            source=pulumi.FileAsset(str(args.archive)),
            content_type="application/zip",
            opts=child,
        )
        function = cloudfunctionsv2.Function(
            f"{name}-function",
            name=names.function(service.role),
            location=settings.google.services_region,
            description=service.meaning,
            build_config=cloudfunctionsv2.FunctionBuildConfigArgs(
                runtime=services.RUNTIME,
                entry_point=services.ENTRY_POINT,
                service_account=args.builds.builder_id,
                source=cloudfunctionsv2.FunctionBuildConfigSourceArgs(
                    storage_source=cloudfunctionsv2.FunctionBuildConfigSourceStorageSourceArgs(
                        bucket=args.builds.source_bucket, object=code.name
                    )
                ),
            ),
            service_config=cloudfunctionsv2.FunctionServiceConfigArgs(
                available_memory=service.memory,
                available_cpu=service.cpu,
                timeout_seconds=service.timeout_seconds,
                max_instance_request_concurrency=service.concurrency,
                min_instance_count=0,
                max_instance_count=service.max_instances,
                ingress_settings="ALLOW_INTERNAL_ONLY",
                all_traffic_on_latest_revision=True,
                service_account_email=account.email,
                environment_variables=services.environment(service, settings),
            ),
            labels=settings.google_labels(),
            opts=child,
        )
        for level in sorted(args.invokers):
            cloudrunv2.ServiceIamMember(
                f"{name}-called-by-{level}",
                project=names.project,
                location=settings.google.services_region,
                name=function.name,  # the Cloud Run service below a function has its name
                role="roles/run.invoker",
                member=args.invokers[level],
                opts=child,
            )
        self.account_member = account.member
        self.uri = function.url
        self.register_outputs({"account_member": self.account_member, "uri": self.uri})

    def _permissions(self, name: str, args: ProxyFunctionArgs, account: serviceaccount.Account) -> None:
        service, names = args.service, args.settings.names
        role = projects.IAMCustomRole(
            f"{name}-role",
            role_id=names.custom_role(service.role),
            title=names.account(service.role),
            description=service.meaning,
            permissions=sorted(service.permissions),
            opts=pulumi.ResourceOptions(parent=self),
        )
        projects.IAMMember(
            f"{name}-may",
            project=names.project,
            role=role.name,
            member=account.member,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _records(self, name: str, args: ProxyFunctionArgs, account: serviceaccount.Account) -> None:
        settings = args.settings
        bucket = storage.Bucket(
            f"{name}-records",
            name=settings.names.function_bucket(args.service.role),
            location=settings.google.services_region.upper(),
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            lifecycle_rules=[
                storage.BucketLifecycleRuleArgs(
                    action=storage.BucketLifecycleRuleActionArgs(type="Delete"),
                    condition=storage.BucketLifecycleRuleConditionArgs(age=services.record_days(settings)),
                )
            ],
            labels=settings.google_labels(),
            opts=pulumi.ResourceOptions(parent=self),
        )
        for role in services.STATE_ROLES:
            storage.BucketIAMMember(
                f"{name}-records-{role.rpartition('.')[2]}",
                bucket=bucket.name,
                role=role,
                member=account.member,
                opts=pulumi.ResourceOptions(parent=self),
            )
