"""Fine-tunes BERT-family text classifiers; job.py runs one job, stage by stage.

Each package may import those below it: results, training, modeling and dataset, tokenization and tasks, ops and
reading and evaluation, runtime, contract. pyproject.toml has the layers, import-linter checks them.
"""
