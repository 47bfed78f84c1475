"""Measures retrieval and answers, on public sets and on your own documents."""
