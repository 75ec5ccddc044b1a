"""One environment's fleet, from top to bottom. What exists is decided by the stack's YAML and by `fleet/`."""

from pathlib import Path

import pulumi
import pulumi_gcp as gcp
import pulumi_github as github

from components.boot_bundle import BootBundle, BootBundleArgs
from components.fleet_network import FleetNetwork, FleetNetworkArgs
from components.github_app import GithubApp, GithubAppArgs
from components.runner_health_check import RunnerHealthCheck, RunnerHealthCheckArgs
from components.runner_image import RunnerImage, RunnerImageArgs
from components.runner_pool import RunnerPool, RunnerPoolArgs
from components.trust_level import TrustLevel, TrustLevelArgs
from fleet import trust
from fleet.errors import ConfigError
from fleet.settings import read
from startup import bundle, render

boot = bundle.build(Path(__file__).parent / "startup")
try:
    settings = read(pulumi.Config().get_object, environment=pulumi.get_stack(), tree_bundle=boot.digest)
except ConfigError as error:
    raise pulumi.RunError(str(error)) from None

google = gcp.Provider("google", project=settings.google.project)
organization = github.Provider("github", owner=settings.github.organization)
explicit = pulumi.ResourceOptions(providers=[google, organization])

network = FleetNetwork("network", FleetNetworkArgs(settings=settings), explicit)
health = RunnerHealthCheck("health", RunnerHealthCheckArgs(settings=settings), explicit)
app = GithubApp("app", GithubAppArgs(settings=settings), explicit)

levels: dict[str, TrustLevel] = {}
for level in trust.by_rank(settings.trust_levels):  # a cache names its readers, which are of lower levels
    readers = {reader: levels[reader].account_member for reader in trust.cache_readers(level, settings.trust_levels)}
    levels[level] = TrustLevel(level, TrustLevelArgs(settings=settings, cache_readers=readers), explicit)

boot_bundle = BootBundle(
    "boot",
    BootBundleArgs(
        settings=settings,
        object_name=boot.object_name,
        source=pulumi.FileAsset(str(bundle.write(boot, Path(".build")))),
        readers={level: levels[level].account_member for level in levels},
    ),
    explicit,
)
# A VM that boots before its bundle can be read fails for nothing.
after_bundle = pulumi.ResourceOptions.merge(explicit, pulumi.ResourceOptions(depends_on=[boot_bundle]))

images = {
    (image, version): RunnerImage(
        f"{image}-v{version}", RunnerImageArgs(settings=settings, image=image, version=version, source=pin), explicit
    )
    for image, version, pin in settings.images()
}

startup_scripts = render.bootstraps(settings)
for key, pool in sorted(settings.pools.items()):
    image = settings.image_key(pool.machine_class)
    RunnerPool(
        key,
        RunnerPoolArgs(
            settings=settings,
            image_ids={version: images[image, version].image_id for version in settings.pool_versions(key)},
            startup_scripts=startup_scripts,
            job_environment=render.pool_environment(settings, key),
            subnetwork_ids=network.subnetwork_ids,
            account_email=levels[pool.trust].account_email,
            health_check_id=health.health_check_id,
        ),
        after_bundle,
    )

pulumi.export("boot_bundle", boot.digest)
pulumi.export("groups", {key: [group.name for group in settings.groups(key)] for key in sorted(settings.pools)})
