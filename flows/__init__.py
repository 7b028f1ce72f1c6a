"""Order: the flows that Prefect runs, the stack they run on, and the command `hierdiff`.

Formulas are in `hierdiff_core`, clients of databases and stores in `tasks`.
"""
