"""Floor 1: the rows that everything else reads. Frozen, comparable, keyed by cluster, namespace and name."""
