"""`python -m imagerec_model` is `imagerec-model`."""

import sys

from imagerec_model.cli import main

sys.exit(main())
