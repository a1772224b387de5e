"""The files a job leaves: model directory, metrics, predictions, report, ONNX model. May import training and what is
below it.
"""
