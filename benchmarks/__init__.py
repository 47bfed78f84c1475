"""Speed and memory, each with the command that measures it."""
