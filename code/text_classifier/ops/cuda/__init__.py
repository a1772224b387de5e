"""The operations in CUDA C++, compiled when a job starts. May import what ops may."""
