"""What is to be done, as plain data: the request, its channels, checks, search and cost.

Asks nobody and changes nothing. Imports text_classifier.contract and the launcher's errors.
"""
