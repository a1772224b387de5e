"""Fine-tunes BERT-family text classifiers. The commands beside this package run it; job.py is one job, stage by stage.

Each package may import those below it: results, training, modeling and dataset, tokenization and tasks, ops and
reading and evaluation, runtime, contract. import-linter checks that (pyproject.toml).
"""
