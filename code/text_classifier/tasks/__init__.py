"""What follows from the kind of label: targets, loss, metrics, baselines; one class per task.

Imports evaluation, reading and what is below them; torch only inside the loss.
"""
