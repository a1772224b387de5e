"""The command line: commands, flags, train.yaml. Imports plan and local."""
