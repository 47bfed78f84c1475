"""Search over a thousand to a million chunks: `python -m benchmarks.scale --help`."""
