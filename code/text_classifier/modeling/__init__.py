"""Models: loading, the packed and the padded forward pass, precision.

Imports tokenization, ops and what is below them.
"""
