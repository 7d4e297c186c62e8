"""A multicluster world on one Linux machine: embedded clusters, networks, kubelets. A sibling of Isthmus."""
