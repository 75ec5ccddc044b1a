"""Which edits replace a resource instead of changing it in place.

Seen with the Google provider 9.35 to 10.2 against a stand-in of the API. A type that is not listed counts as changed
in place; the real engine has the last word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rehearsal.inventory import Resource

ANY: Final = frozenset({"*"})

REPLACED_BY: Final[dict[str, frozenset[str]]] = {
    "gcp:compute/regionInstanceTemplate:RegionInstanceTemplate": ANY,
    "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager": frozenset(
        {"name", "baseInstanceName", "region", "project", "description", "distributionPolicyZones", "targetSizePolicy"}
    ),
    "gcp:compute/regionAutoscaler:RegionAutoscaler": frozenset({"name", "region", "project"}),
    "gcp:compute/image:Image": frozenset({"sourceImage", "sourceSnapshot", "name", "family", "description"}),
    "gcp:compute/network:Network": frozenset({"name", "autoCreateSubnetworks", "description"}),
    "gcp:compute/subnetwork:Subnetwork": frozenset({"name", "region", "network", "description"}),
    "gcp:compute/healthCheck:HealthCheck": frozenset({"name"}),
    "gcp:storage/bucket:Bucket": frozenset({"name", "location", "project"}),
    "gcp:storage/bucketObject:BucketObject": frozenset({"name", "contentType", "metadata", "cacheControl"}),
    "gcp:storage/bucketIAMMember:BucketIAMMember": ANY,
    "gcp:projects/iAMMember:IAMMember": ANY,
    "gcp:secretmanager/secretIamMember:SecretIamMember": ANY,
    "gcp:secretmanager/secret:Secret": frozenset({"secretId", "replication"}),
    "gcp:serviceaccount/account:Account": frozenset({"accountId", "project"}),
}


def replaces(resource: Resource, changed: Iterable[str]) -> bool:
    """Whether changing these properties makes a new resource."""
    rules = REPLACED_BY.get(resource.type, frozenset())
    return any("*" in rules or prop in rules for prop in changed)
