"""Trees: from pairwise distances of vectors to one binary tree over all prompts."""
