"""Channels to labelled splits, and the data report. Imports tasks and what is below them, and neither torch nor
transformers.
"""
