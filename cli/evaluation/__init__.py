"""`quoth eval`: one file for each of its commands."""
