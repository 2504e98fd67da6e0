"""The benchmarks room; see README.md beside this file."""
