"""Sources: the user's own database or file, one row after the other, and what its columns mean."""
