"""What an error of one process means for the job: its own failure, a failure of another process, or a lost host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.distributed as dist

from text_classifier.contract.errors import PeerError, PlatformError, describe, first_line
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import Stopped, StopSignal
from text_classifier.training.peers import Peers


@dataclass(frozen=True)
class Diagnosis:
    """Turns errors into sentences that name hosts. `timeout_seconds`: of a collective."""

    hosts: Hosts
    world_size: int
    timeout_seconds: float

    def explain(self, error: Exception, peers: Peers, stop: StopSignal) -> Exception:
        """The error that ends the job. Reports a failure of this process to the others; asks them who is lost."""
        if isinstance(error, Stopped):
            return error
        if not _is_lost_connection(error):
            peers.report(first_line(error))
            return error
        unreachable = peers.unreachable()
        if stop.requested:
            return Stopped(f"stopped; {self._names(unreachable)} had ended before" if unreachable else "stopped")
        if peers.reported:
            rank, reason = next(iter(peers.reported.items()))
            return PeerError(reason, self.hosts.of_rank(rank, self.world_size))
        lost = self.lost(unreachable, error)
        peers.report(describe(lost))
        return lost

    def lost(self, ranks: Sequence[int], error: Exception) -> PlatformError:
        """The connection to these ranks broke with `error`; none: every process still answers."""
        detail = " ".join(str(error).split())
        if not ranks:
            return PlatformError(
                "connections between hosts broke although every host still responds; start the job again\n" + detail
            )
        verb, log = ("was", "its log") if len(ranks) == 1 else ("were", "their logs")
        is_timeout = "Timed out" in detail or "wait timeout" in detail  # gloo's words, and the store's
        cause = f"no answer for {self.timeout_seconds:g} s" if is_timeout else "the connection was closed"
        return PlatformError(
            f"{self._names(ranks)} {verb} lost: {cause}; look at the end of {log} (out of memory? reclaimed?), "
            f"then start the job again\n{detail}"
        )

    def missing(self, ranks: Sequence[int], seconds: float) -> PlatformError:
        """These ranks did not join in time."""
        log = "its log" if len(ranks) == 1 else "their logs"
        return PlatformError(
            f"{self._names(ranks)} did not join within {seconds} s; look at {log} for the cause, "
            "then start the job again"
        )

    def _names(self, ranks: Sequence[int]) -> str:
        """The ranks by host, as users know them."""
        names = dict.fromkeys(self.hosts.of_rank(rank, self.world_size) for rank in ranks)
        word = "host" if len(names) == 1 else "hosts"
        process = f" (process {', '.join(map(str, ranks))})" if self.world_size > len(self.hosts.names) else ""
        return f"{word} {', '.join(names)}{process}"


def _is_lost_connection(error: Exception) -> bool:
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))
