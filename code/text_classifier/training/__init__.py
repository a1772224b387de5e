"""The training loop with batches, steps, checkpoints and the other processes of the job. Imports modeling, tasks and
what is below them.
"""
