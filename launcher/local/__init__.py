"""Containers on this machine: the Docker engine, SageMaker local mode, and the image's `check` and `predict`.

May import plan.
"""
