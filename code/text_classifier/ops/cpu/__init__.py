"""The operations in C++, for AMX, AVX-512 and AVX2. May import what ops may."""
