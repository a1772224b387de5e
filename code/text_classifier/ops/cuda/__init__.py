"""The operations in CUDA C++, compiled when a job starts."""
