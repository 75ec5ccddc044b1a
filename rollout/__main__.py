"""What `scripts/rollout` starts."""

from __future__ import annotations

from rollout.cli import main
from rollout.commands.completion import COMPLETE_VARIABLE
from rollout.commands.frame import PROGRAM

if __name__ == "__main__":
    main(prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE)
