"""One file per solver: its coefficients, taken from the diffusers scheduler of the same name.

They share one arithmetic (`linear`); `hierdiff_core.solver` finds them by name.
"""
