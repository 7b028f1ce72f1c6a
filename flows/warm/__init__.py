"""A worker's warm start: flow runs are forked from a process that has everything imported."""
