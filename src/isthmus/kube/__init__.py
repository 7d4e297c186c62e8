"""Floor 2: the Kubernetes API as protocol: requests, typed partial objects, watches. No I/O."""
