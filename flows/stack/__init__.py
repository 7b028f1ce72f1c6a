"""The embedded stack: PostgreSQL, object store, Prefect server and workers on one machine."""
