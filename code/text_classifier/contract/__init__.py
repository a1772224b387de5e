"""What the image and the launcher agree on: hyperparameters, metric names, public files, errors.

Imports nothing else of ours, and only the standard library.
"""
