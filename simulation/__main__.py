"""`python -m simulation`, with the functions' packages where a deployment has them: at the top."""

from __future__ import annotations

import sys

from simulation.importing import functions_importable

functions_importable()

from simulation.command import main  # noqa: E402 - only now are the functions' packages found

if __name__ == "__main__":
    sys.exit(main())
