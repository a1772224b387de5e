"""The tasks: targets, metrics and baselines for each kind of label. May import evaluation, reading and what is below
them; neither torch nor transformers.
"""
