"""The GitHub App's private key: a container for it, and the one identity that may read it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import secretmanager

from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class GithubAppArgs:
    """The settings name the secret that holds the App's private key; `reader` is the one member that may read it."""

    settings: Settings
    reader: pulumi.Input[str]


class GithubApp(pulumi.ComponentResource):
    """Declares the secret and the grant of its single reader, the account that the registration broker runs as.

    The key's value never enters configuration or state: an operator adds it as a secret version (docs/bootstrap.md).
    """

    key_secret_id: pulumi.Output[str]

    def __init__(self, name: str, args: GithubAppArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:GithubApp", name, None, opts)
        secret = secretmanager.Secret(
            f"{name}-key",
            secret_id=args.settings.github.app_key_secret,
            replication=secretmanager.SecretReplicationArgs(auto=secretmanager.SecretReplicationAutoArgs()),
            labels=args.settings.google_labels(),
            # The value was put in by hand and cannot be rebuilt from the program.
            opts=pulumi.ResourceOptions(parent=self, protect=True),
        )
        secretmanager.SecretIamMember(
            f"{name}-key-read",
            secret_id=secret.id,
            role="roles/secretmanager.secretAccessor",
            member=args.reader,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.key_secret_id = secret.id
        self.register_outputs({"key_secret_id": self.key_secret_id})
