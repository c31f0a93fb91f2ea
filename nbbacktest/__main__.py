"""`python -m nbbacktest` is the command line."""

import os
import sys

if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 - as Python puts it there
    # Python puts the current folder first: a file of it would shadow an installed module
    sys.path.append(sys.path.pop(0))

from nbbacktest.cli import main

sys.exit(main())
