"""How good pictures are: one file for each judge, and for the distances between sets of pictures.

Knows pictures as bytes and prompts as text; knows nothing of how the pictures were made.
"""
