"""A stand-in of GitHub's runner, and of the VM that it runs on."""
