"""One format family a file: bytes in, a Document out. `registry` chooses by suffix, `child` runs it confined."""
