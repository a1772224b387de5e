"""All that asks AWS: jobs, tuning jobs, storage, ECR, the stack, doctor. Imports plan, local and cli's tables."""
