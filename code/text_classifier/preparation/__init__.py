"""The rows of a job, read and tokenized once per host, in a folder that its processes map into memory. Imports no
torch.
"""
