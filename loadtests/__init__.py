"""Load tests and benchmarks: ratios against a baseline of the same run, on loopback, bounded in count and time."""
