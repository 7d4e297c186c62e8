"""What is put into a cluster: manifests of the control plane and its gateways, and the sidecar of injected pods.

Everything here is a pure function from values to Kubernetes objects (plain dicts as in YAML).
"""
