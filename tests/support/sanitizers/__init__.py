"""The C++ of code/ with random input, compiled with AddressSanitizer and UndefinedBehaviorSanitizer."""
