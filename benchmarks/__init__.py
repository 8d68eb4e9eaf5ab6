"""The project's own benchmarks: `python -m benchmarks.NAME` prints ratios of one run; `make bench` runs them all."""
