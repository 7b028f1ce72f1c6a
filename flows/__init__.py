"""Order: the flows that Prefect runs, the stack they run on, and the command `hierdiff`.

Knows what comes after what. Knows neither a formula nor a client of a database or a store: those
are in `hierdiff_core` and in `tasks`.
"""
