"""`python -m oht50d` is the command `oht50d`."""

import sys

from oht50d.app.cli import main

sys.exit(main())
