"""One strategy over many values of its parameters: `call` is what users type, the others are its parts."""
