"""The container that a job runs in: folders, hosts, GPUs, users, signals. Imports contract, and neither torch nor
transformers.
"""
