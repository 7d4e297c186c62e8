"""Owns the namespaces and the processes of one lab; speaks with the command line through the state directory."""
