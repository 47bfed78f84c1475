"""Rerankers: question and passage judged together. Each module has `async create(settings, models_dir)`."""
