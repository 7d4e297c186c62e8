"""What Kubernetes' controller manager and scheduler do, as far as a lab needs it.

Each controller is a pure function from a view of the cluster to a `Plan` of actions; `main` watches, calls them and
carries the actions out. Everything goes through the API server: whoever kills it and starts it again loses nothing.
"""
