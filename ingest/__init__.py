"""Folder to index: finds files, parses, chunks, embeds, writes, and keeps the index true to the folder."""
