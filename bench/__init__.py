"""Benchmarks: what the README and the issues promise, measured. `make bench-publish`."""
