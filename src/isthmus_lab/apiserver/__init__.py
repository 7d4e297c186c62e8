"""The embedded cluster's API server: Kubernetes' HTTP API over SQLite, without anything else of Kubernetes.

`kubectl` and the official clients work against it unchanged. The core (store, selectors, patch, apply, schema, rbac,
tokens, printers, ...) is synchronous and takes time and randomness as arguments; `httpd` and `serve` do the I/O.
"""
