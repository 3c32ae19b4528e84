"""Measurements, not tests: `make bench` prints and writes the table of docs/benchmarks.md."""
