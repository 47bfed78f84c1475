"""Quoth beside what a user would pick instead, on the same folder, model and chunk size; see README.md."""
