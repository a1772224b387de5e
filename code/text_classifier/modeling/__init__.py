"""Models: loading, the packed and the padded forward pass, precision. May import tokenization, ops and what is below
them.
"""
