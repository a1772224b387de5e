"""Operations on packed batches: in plain torch, and natively for CPU and GPU. May import runtime and contract."""
