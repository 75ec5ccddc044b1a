"""The GitHub App's private key: a container for it, and the few functions that may read it, each by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi_gcp import secretmanager

from components.proxy_function import ProxyFunction
from fleet.services import SERVICES
from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class GithubAppArgs:
    """The settings name the secret that holds the App's private key; `functions` maps roles to all functions."""

    settings: Settings
    functions: Mapping[str, ProxyFunction]


class GithubApp(pulumi.ComponentResource):
    """Declares the secret, and a grant for each function whose service says what it needs the key for; no other reader.

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
        for reader in (service.role for service in SERVICES if service.app_key):
            secretmanager.SecretIamMember(
                f"{name}-key-read-by-{reader}",
                secret_id=secret.id,
                role="roles/secretmanager.secretAccessor",
                member=args.functions[reader].account_member,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    # So the broker's grant was called while it was alone. Under a new name it would be made first and
                    # deleted last, and one member's role is one thing: the broker would lose it.
                    aliases=[pulumi.Alias(name=f"{name}-key-read")] if reader == "broker" else None,
                ),
            )
        self.key_secret_id = secret.id
        self.register_outputs({"key_secret_id": self.key_secret_id})
