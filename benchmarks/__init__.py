"""Measurements, never tests: `make bench` runs them all, `python -m benchmarks.<name> --help` one of them."""
