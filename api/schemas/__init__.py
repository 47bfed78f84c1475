"""Request and response bodies, with their limits."""
