"""The figures of docs/, drawn from the source and from guests. tools/docs/figures writes them."""
