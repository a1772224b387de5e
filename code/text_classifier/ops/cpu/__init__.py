"""The operations of a packed batch in C++, for AMX, AVX-512 and AVX2."""
