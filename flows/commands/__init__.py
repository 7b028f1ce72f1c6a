"""The commands of `hierdiff`, by what people want: run the stack, make a night, look at it."""
