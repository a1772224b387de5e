"""A job as plain data: its request, channels, search space, checks and cost. No network, no SDK, no side effects.

May import text_classifier.contract and launcher's top-level modules.
"""
