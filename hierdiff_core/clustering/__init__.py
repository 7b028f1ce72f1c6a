"""Trees: who is near whom, from pairs of vectors to one binary tree over all prompts.

Knows vectors, distances and which two clusters merge; knows nothing of steps, plans or models.
"""
