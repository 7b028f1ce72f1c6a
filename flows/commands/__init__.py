"""The commands of `hierdiff`: run the stack, make a night, inspect it."""
