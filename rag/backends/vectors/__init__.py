"""Where the points live: Qdrant Edge, a Qdrant server, or plain memory. One interface, the same results."""
