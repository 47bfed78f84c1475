"""The engine: a question in, a cited answer out. Knows nothing of HTTP, of files on disk, of datasets."""
