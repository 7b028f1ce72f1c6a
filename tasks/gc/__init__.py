"""Garbage collection: old nights, idle splits, and objects that no row names any more."""
