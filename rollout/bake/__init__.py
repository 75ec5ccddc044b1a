"""Baking an image: what a builder VM is and what it does, as data. The steps around it are in rollout/plans/bake.py."""
