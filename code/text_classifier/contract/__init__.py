"""The contract between image and launcher: hyperparameters, metric names, schemas, errors. May import only the standard
library.
"""
