"""A node: a container runtime that owns the processes, and a kubelet that runs the pods bound to it."""
