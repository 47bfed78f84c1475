"""Every vendor behind a protocol: one vendor a file, imported by assembly when it is chosen."""
