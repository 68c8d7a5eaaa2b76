"""`python -m deeplab_gygo` is the command `deeplab-gygo`."""

import sys

from deeplab_gygo.cli.main import main

sys.exit(main())
