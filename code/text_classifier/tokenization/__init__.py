"""Texts to token ids. May import ops, reading and what is below them."""
