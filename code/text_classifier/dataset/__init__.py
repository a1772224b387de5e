"""Channels to labeled splits, and the data report. May import tasks and what is below it; neither torch nor
transformers.
"""
