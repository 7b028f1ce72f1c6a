"""How good pictures are: one file for each judge, one for the distance between sets of pictures."""
