"""The competitors by name, in the order of the table."""

from __future__ import annotations

from benchmarks.contest import Competitor
from benchmarks.ours import Ours
from benchmarks.trainers import TrainerDefaults, TrainerTuned
from benchmarks.tutorial import Tutorial

COMPETITORS: dict[str, type[Competitor]] = {kind.name: kind for kind in (Tutorial, TrainerDefaults, TrainerTuned, Ours)}
