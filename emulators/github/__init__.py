"""GitHub's part in a runner's life: App authentication, the REST calls for runners, and what a runner itself asks."""

from emulators.github.hub import GitHub

__all__ = ["GitHub"]
