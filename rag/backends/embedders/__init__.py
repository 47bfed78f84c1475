"""Embedders: text to unit vectors. Each module has `async create(settings, models_dir)`."""
