"""Google Cloud's part in a runner's life: metadata, Compute Engine, Cloud Storage, Secret Manager, signing keys."""

from emulators.google.cloud import Google

__all__ = ["Google"]
