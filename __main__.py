"""One environment's fleet, from top to bottom. What exists is decided by the stack's YAML and by `fleet/`."""

from pathlib import Path

import pulumi
import pulumi_gcp as gcp
import pulumi_github as github

from components.boot_bundle import BootBundle, BootBundleArgs
from components.fleet_metrics import FleetMetrics, FleetMetricsArgs
from components.fleet_network import FleetNetwork, FleetNetworkArgs
from components.function_builds import FunctionBuilds, FunctionBuildsArgs
from components.function_schedules import FunctionSchedules, FunctionSchedulesArgs
from components.github_app import GithubApp, GithubAppArgs
from components.proxy_function import ProxyFunction, ProxyFunctionArgs
from components.runner_health_check import RunnerHealthCheck, RunnerHealthCheckArgs
from components.runner_image import RunnerImage, RunnerImageArgs
from components.runner_pool import RunnerPool, RunnerPoolArgs
from components.trust_level import TrustLevel, TrustLevelArgs
from fleet import errors, services, trust
from fleet.function_table import function_table
from fleet.settings import read
from functions import pack
from startup import bundle, render

HERE, BUILD = Path(__file__).parent, Path(".build")
boot = bundle.build(HERE / "startup")
try:
    settings = read(pulumi.Config().get_object, environment=pulumi.get_stack(), tree_bundle=boot.digest)
except errors.ConfigError as error:
    raise pulumi.RunError(str(error)) from None

google = gcp.Provider("google", project=settings.google.project)
organization = github.Provider("github", owner=settings.github.organization)
explicit = pulumi.ResourceOptions(providers=[google, organization])
network = FleetNetwork("network", FleetNetworkArgs(settings=settings), explicit)
health = RunnerHealthCheck("health", RunnerHealthCheckArgs(settings=settings), explicit)
FleetMetrics("metrics", FleetMetricsArgs(settings=settings), explicit)

levels: dict[str, TrustLevel] = {}
for level in trust.by_rank(settings.trust_levels):  # a cache names its readers, which are of lower levels
    readers = {reader: levels[reader].account_member for reader in trust.cache_readers(level, settings.trust_levels)}
    levels[level] = TrustLevel(level, TrustLevelArgs(settings=settings, cache_readers=readers), explicit)
runners = {level: made.account_member for level, made in levels.items()}
builds = FunctionBuilds("builds", FunctionBuildsArgs(settings=settings), explicit)
functions: dict[str, ProxyFunction] = {}
for service in services.SERVICES:  # each reads records of those before it
    archive = bundle.write(pack.build(HERE / "functions" / service.folder, function_table(settings)), BUILD)
    function = ProxyFunctionArgs(
        settings=settings, service=service, archive=archive, builds=builds, invokers=runners, others=functions
    )
    functions[service.role] = ProxyFunction(service.role, function, explicit)
FunctionSchedules("scheduler", FunctionSchedulesArgs(settings=settings, functions=functions), explicit)
GithubApp("app", GithubAppArgs(settings=settings, functions=functions), explicit)

archive = bundle.write(boot, BUILD)
boot_bundle = BootBundle("boot", BootBundleArgs(settings=settings, archive=archive, readers=runners), explicit)
# A VM that boots before its bundle can be read, or before its services exist, fails for nothing.
after_all = pulumi.ResourceOptions(providers=[google, organization], depends_on=[boot_bundle, *functions.values()])
images: dict[tuple[str, str], RunnerImage] = {}
for image, version, source in settings.images():
    pinned = RunnerImageArgs(settings=settings, image=image, version=version, source=source)
    images[image, version] = RunnerImage(f"{image}-v{version}", pinned, explicit)
startup_scripts = render.bootstraps(settings)
for key, pool in sorted(settings.pools.items()):
    args = RunnerPoolArgs(
        settings=settings,
        image_ids={version: images[image, version].image_id for image, version in settings.pool_images(key)},
        startup_scripts=startup_scripts,
        job_environment=render.pool_environment(settings, key),
        subnetwork_ids=network.subnetwork_ids,
        account_email=levels[pool.trust].account_email,
        health_check_id=health.health_check_id,
    )
    RunnerPool(key, args, after_all)

pulumi.export("boot_bundle", boot.digest)
pulumi.export("groups", {key: [group.name for group in settings.groups(key)] for key in sorted(settings.pools)})
pulumi.export("functions", {role: function.uri for role, function in functions.items()})
