"""The operations of a packed batch in CUDA C++, and AdamW."""
