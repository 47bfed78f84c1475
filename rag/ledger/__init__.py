"""The SQL state: the source of truth for stores and documents. Qdrant holds what is derived from it."""
