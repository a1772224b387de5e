"""Texts to token ids. Imports ops, reading and what is below them."""
