"""`python -m isthmus_lab.supervisor --state-dir DIR --lab DIR --host-fd CLUSTER=FD …`; `isthmus lab up` runs it."""

import sys

from isthmus_lab.supervisor.main import main

sys.exit(main(sys.argv[1:]))
