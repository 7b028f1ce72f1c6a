"""The picture of a plan as a flame graph: tiles, their colours, what surrounds them, one SVG.

Knows plans; knows nothing of the pictures that a plan makes, nor of the page that shows it.
"""
