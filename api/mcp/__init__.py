"""The Model Context Protocol: what agents may do with the stores. All of it reads; nothing changes anything.

`server`, `streamable_http` and `stdio` know the `mcp` package, which takes most of a second to import, so they are
imported by the first request and by `quoth mcp`.
"""
