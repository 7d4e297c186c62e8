"""`python -m isthmus_lab.init …`: see `--help`."""

import sys

from isthmus_lab.init import main

sys.exit(main(sys.argv[1:]))
