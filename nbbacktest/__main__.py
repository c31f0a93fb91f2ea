"""`python -m nbbacktest` is the command line."""

import sys

from nbbacktest.cli import main

sys.exit(main())
