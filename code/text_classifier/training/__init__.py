"""The training loop: batches, steps, checkpoints, and the processes of a job. Imports modeling, tasks and what is below
them.
"""
