"""The evaluation's work: pictures are made and judged here, and results are kept.

Knows models, judges and folders. What is measured, and what it means, is in
`hierdiff_core.evaluation`.
"""
