"""Components that break one rule each, to prove that the rule can fail."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import storage


@dataclass
class BadArgs:
    size: int


class Bad(pulumi.ComponentResource):
    """Wrong token, loose Args, outputs registered first and twice, children at the top with no labels."""

    bucket: pulumi.Output[str]
    forgotten: pulumi.Output[str]

    def __init__(self, name, opts=None):
        super().__init__("runner-fleet:elsewhere:Bad", name, None, opts)
        self.register_outputs({})
        self.register_outputs({})
        stray = storage.Bucket("stray", location="US")
        child = storage.Bucket("other-name", location="US", opts=pulumi.ResourceOptions(parent=self))
        storage.BucketIAMBinding(
            f"{name}-binding",
            bucket=child.name,
            role="roles/storage.admin",
            members=["allUsers"],
            opts=pulumi.ResourceOptions(parent=stray),
        )
        # A number that only a cloud computes has no reference; it stays unknown.
        storage.BucketObject(
            f"{name}-object",
            bucket=child.name,
            content="x",
            metadata={"of": stray.project_number.apply(str)},
            opts=pulumi.ResourceOptions(parent=self),
        )


class Silent(pulumi.ComponentResource):
    """Never registers its outputs."""

    def __init__(self, name, opts=None):
        super().__init__("runner-fleet:index:Silent", name, None, opts)


class Talkative(pulumi.ComponentResource):
    """Registers what it does not have."""

    said: pulumi.Output[str]

    def __init__(self, name, opts=None):
        super().__init__("runner-fleet:index:Talkative", name, None, opts)
        self.said = pulumi.Output.from_input("yes")
        self.register_outputs({"said": self.said, "more": "than it has"})
