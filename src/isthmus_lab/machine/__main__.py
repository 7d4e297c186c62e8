"""`python -m isthmus_lab.machine MACHINE_JSON`."""

import sys

from isthmus_lab.machine.main import main

main(sys.argv[1:])
