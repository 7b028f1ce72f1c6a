"""The paper's tables and figures, and our goals, on the miniature: `python -m benchmarks.paper`.

What a customer measures on prompts of his own, `hierdiff evaluate` does: its sections stand here
too, with what the paper reports and what we want beside them.
"""
