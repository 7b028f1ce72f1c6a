"""Effects: settings, the database, the object store, and the work of each stage.

Knows how to touch the world; leaves the order of things to `flows` and their meaning to
`hierdiff_core`.
"""
