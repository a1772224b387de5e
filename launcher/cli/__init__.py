"""The command line: commands, options, train.yaml, --help, and reference tables for the documentation.

May import local and plan.
"""
