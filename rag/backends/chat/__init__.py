"""Models that write answers: one vendor a file, imported by assembly when the settings choose it."""
