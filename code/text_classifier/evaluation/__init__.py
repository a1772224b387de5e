"""Metrics from logits and targets, with bootstrap intervals and calibration. May import runtime and contract; neither
torch nor transformers.
"""
