"""`python -m loadtest`, the same as the command `loadtest`."""

import sys

from loadtest.cli import main

sys.exit(main())
