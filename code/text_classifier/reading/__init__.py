"""Data files to rows: formats, columns, texts and labels, with the place of every bad row. May import runtime and
contract; neither torch nor transformers.
"""
