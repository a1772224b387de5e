"""Metrics from logits and targets, with bootstrap intervals and calibration. Imports runtime and contract, and neither
torch nor transformers.
"""
