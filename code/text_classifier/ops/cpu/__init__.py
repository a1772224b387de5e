"""The operations in C++, for AMX, AVX-512 and AVX2."""
