"""GPU instance families of SageMaker training: which GPU they have, and what the image or AWS requires of them.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/instance-types-az.html, https://aws.amazon.com/ec2/instance-types/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """An instance family with GPUs."""

    gpu: str
    #: Memory of one GPU.
    gpu_memory_gb: int
    #: Whether CUDA 13, which the image uses, supports the GPU: Turing and later.
    is_supported: bool = True
    #: Such disks are always encrypted, and AWS rejects VolumeKmsKeyId for them.
    has_local_disk: bool = True


FAMILIES: Mapping[str, Family] = {
    "p2": Family("K80", 12, is_supported=False, has_local_disk=False),
    "p3": Family("V100", 16, is_supported=False, has_local_disk=False),
    "p3dn": Family("V100", 32, is_supported=False),
    "g4dn": Family("T4", 16),
    "g5": Family("A10G", 24),
    "g6": Family("L4", 24),
    "g6e": Family("L40S", 48),
    "p4d": Family("A100", 40),
    "p4de": Family("A100", 80),
    "p5": Family("H100", 80),
    "p5e": Family("H200", 141),
    "p5en": Family("H200", 141),
}


def family(instance_type: str) -> Family | None:
    """The GPU family of `ml.FAMILY.SIZE`; None for CPU instances and unknown families."""
    return FAMILIES.get(instance_type.split(".")[1])
