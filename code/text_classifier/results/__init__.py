"""What a job leaves: the model directory, metrics, predictions, report, ONNX. Imports training and what is below it."""
