"""The image's `serve` command: a trained model behind HTTP, as SageMaker and transformers' clients expect it. Only
model.py imports torch.
"""
