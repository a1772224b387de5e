"""The training loop: batches, steps, checkpoints, and the other processes of the job. May import modeling, tasks and
what is below them.
"""
