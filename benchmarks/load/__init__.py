"""How many answers at once, how fast, and what happens beyond that: `python -m benchmarks.load`."""
