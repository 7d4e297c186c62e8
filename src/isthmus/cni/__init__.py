"""The container network interface as a protocol: a runtime's call of a plugin, and its answer. No I/O."""
