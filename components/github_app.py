"""The GitHub App's private key: a container for it, and the one identity that may read it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
from pulumi_gcp import secretmanager, serviceaccount

from fleet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class GithubAppArgs:
    """The settings name the Secret Manager secret that holds the App's private key."""

    settings: Settings


class GithubApp(pulumi.ComponentResource):
    """Declares the secret and its single reader, the account that the registration broker runs as.

    The key's value never enters configuration or state: an operator adds it as a secret version (docs/bootstrap.md).
    """

    key_secret_id: pulumi.Output[str]
    reader_email: pulumi.Output[str]

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
        reader = serviceaccount.Account(
            f"{name}-key-reader",
            account_id=args.settings.names.account("broker"),
            display_name="Registration broker: the only reader of the GitHub App's key",
            opts=pulumi.ResourceOptions(parent=self),
        )
        secretmanager.SecretIamMember(
            f"{name}-key-read",
            secret_id=secret.id,
            role="roles/secretmanager.secretAccessor",
            member=reader.member,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.key_secret_id = secret.id
        self.reader_email = reader.email
        self.register_outputs({"key_secret_id": self.key_secret_id, "reader_email": self.reader_email})
