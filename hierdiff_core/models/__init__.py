"""Model families: one file each, found by the pipeline class that a folder names."""
