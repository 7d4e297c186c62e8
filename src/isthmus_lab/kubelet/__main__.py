"""`python -m isthmus_lab.kubelet NODE_JSON`: a kubelet on a node whose runtime runs already."""

import sys

from isthmus_lab.kubelet.main import main

sys.exit(main(sys.argv[1:]))
