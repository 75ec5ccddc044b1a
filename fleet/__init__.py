"""The pure model of a runner fleet: what a stack's YAML means, and every decision taken from it.

Nothing here imports Pulumi, reads a file, the clock or the network. `fleet.settings.load` is the one door in;
components, the rehearsal and the operators' tools all read the frozen objects it returns.
"""
