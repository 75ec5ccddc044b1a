"""What runs on a runner's VM, and the two modules that deliver it: `bundle` packs it, `render` writes the bootstrap."""
