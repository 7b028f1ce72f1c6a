"""hierdiff's core: what a set of pictures shares, what it costs, and how it is denoised.

Knows prompts, trees, plans, solvers, samplers and models. Knows nothing of workflows, databases,
object stores, environment variables or clocks. Its names are imported from the file that defines
them, so that a plan can be read without loading a network library.
"""
