"""The model checker: every interleaving of a few clients of the code that ships."""
