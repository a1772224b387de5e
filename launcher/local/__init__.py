"""Training and prediction in containers of this machine: the engine, SageMaker local mode, the image's commands.

Imports plan.
"""
