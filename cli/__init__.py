"""The `quoth` command: arguments, progress, exit codes; nothing else."""
