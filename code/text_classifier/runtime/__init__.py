"""The container a job runs in: folders, hosts, GPUs, users, signals. May import contract; neither torch nor
transformers.
"""
