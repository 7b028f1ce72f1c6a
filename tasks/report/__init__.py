"""The report of a night: gathered from the ledger, rendered as one page, published."""
