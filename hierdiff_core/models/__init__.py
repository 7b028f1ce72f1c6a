"""Model families, one file each, and what they share: folders, revisions, devices, recipes."""
