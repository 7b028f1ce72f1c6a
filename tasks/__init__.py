"""Effects: settings, the database, the object store, and the work of each stage.

The order of the stages is in `flows`, what they compute in `hierdiff_core`.
"""
