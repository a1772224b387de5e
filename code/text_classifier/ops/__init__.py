"""Operations on packed batches, for CPU and GPU. May import runtime and contract."""
