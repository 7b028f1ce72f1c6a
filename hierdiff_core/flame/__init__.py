"""The picture of a plan as a flame graph: tiles, their colours, their axes, one SVG."""
