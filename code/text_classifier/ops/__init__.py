"""The operations of a packed batch, on CPU (cpu/) and GPU (cuda/). Imports runtime and contract."""
