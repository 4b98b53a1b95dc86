"""`python -m benchkit` is the command `benchkit`."""

import sys
from pathlib import Path

# `python -m` puts the working directory first, where a user's file may be named as a package is.
if sys.path and not sys.flags.safe_path and Path(sys.path[0]) == Path.cwd():
    sys.path.append(sys.path.pop(0))

from benchkit.cli import main

if __name__ == "__main__":
    main()
