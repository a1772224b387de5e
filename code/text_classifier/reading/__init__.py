"""Files to rows: formats, columns, texts and labels, with the place of each mistake. Imports runtime and contract, and
neither torch nor transformers.
"""
