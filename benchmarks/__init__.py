"""The benchmark. README.md explains what is measured; run.py measures speed, parity.py accuracy."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Last, because in the image code/ is already on the path.
sys.path.append(str(ROOT / "code"))

#: Variables of PyTorch, oneDNN and MKL that make a CPU as fast as one that has nothing beyond AVX2. ops/cpu follows the
#: first one.
ONLY_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
