"""A function that holds power: its identity, its few permissions, its records, its code, and which VMs may call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
from pulumi_gcp import cloudfunctionsv2, cloudrunv2, projects, serviceaccount, storage

from components.function_builds import FunctionBuilds
from fleet import services
from fleet.service_environment import environment
from fleet.services import Service
from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFunctionArgs:
    """`archive` is a zip named by its digest; `invokers` maps a trust level to the member that VMs call as.

    `others` maps roles to the functions made before this one, on whose records it may be granted something.
    """

    settings: Settings
    service: Service
    archive: Path
    builds: FunctionBuilds
    invokers: Mapping[str, pulumi.Input[str]]
    others: Mapping[str, ProxyFunction]


class ProxyFunction(pulumi.ComponentResource):
    """One function of the second generation; the component's name is the service's role.

    Reached from the project's own networks only, by runners' accounts only; where the clock calls it, by none of those
    (`FunctionSchedules` says by whom). What a caller may do once it is in is the function's own business. Its records
    are not protected: without them no VM can do harm, but none can register again or leave until it is replaced.
    """

    account_member: pulumi.Output[str]
    records_bucket: pulumi.Output[str]
    run_service: pulumi.Output[str]
    """The Cloud Run service below the function."""
    uri: pulumi.Output[str]

    def __init__(self, name: str, args: ProxyFunctionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:ProxyFunction", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings, service, names = args.settings, args.service, args.settings.names
        account = serviceaccount.Account(
            f"{name}-account", account_id=names.account(service.role), display_name=service.meaning, opts=child
        )
        self._permissions(name, args, account)
        records = self._records(name, args, account)
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
                environment_variables=environment(service, settings),
            ),
            labels=settings.google_labels(),
            opts=child,
        )
        for level in sorted(args.invokers) if service.serves_vms else ():
            cloudrunv2.ServiceIamMember(
                f"{name}-called-by-{level}",
                project=names.project,
                location=settings.google.services_region,
                name=function.name,
                role="roles/run.invoker",
                member=args.invokers[level],
                opts=child,
            )
        self.account_member = account.member
        self.records_bucket = records.name
        self.run_service = function.name  # the two have one name
        self.uri = function.url
        self.register_outputs(
            {
                "account_member": self.account_member,
                "records_bucket": self.records_bucket,
                "run_service": self.run_service,
                "uri": self.uri,
            }
        )

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

    def _records(self, name: str, args: ProxyFunctionArgs, account: serviceaccount.Account) -> storage.Bucket:
        settings, service = args.settings, args.service
        bucket = storage.Bucket(
            f"{name}-records",
            name=settings.names.function_bucket(service.role),
            location=settings.google.services_region.upper(),
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            # A lease is written anew every few seconds: copies of each for a week are no use to anybody.
            soft_delete_policy=storage.BucketSoftDeletePolicyArgs(retention_duration_seconds=0),
            lifecycle_rules=[
                storage.BucketLifecycleRuleArgs(
                    action=storage.BucketLifecycleRuleActionArgs(type="Delete"),
                    condition=storage.BucketLifecycleRuleConditionArgs(age=services.record_days(settings)),
                )
            ],
            labels=settings.google_labels(),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._grant(f"{name}-records", bucket.name, services.STATE_ROLES, account)
        for owner in sorted(service.reads):
            self._grant(f"{name}-reads-{owner}", args.others[owner].records_bucket, services.READ_ROLES, account)
        for owner in sorted(service.writes):
            self._grant(f"{name}-writes-{owner}", args.others[owner].records_bucket, services.STATE_ROLES, account)
        return bucket

    def _grant(
        self, name: str, bucket: pulumi.Input[str], roles: Mapping[str, str], account: serviceaccount.Account
    ) -> None:
        for role in roles:
            storage.BucketIAMMember(
                f"{name}-{role.rpartition('.')[2]}",
                bucket=bucket,
                role=role,
                member=account.member,
                opts=pulumi.ResourceOptions(parent=self),
            )
