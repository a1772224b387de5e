"""Stop signals as exceptions."""

import os
import signal

import pytest

from launcher.signals import Aborted, Interrupted, StopSignals


@pytest.mark.parametrize("error", [Interrupted, Aborted])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_raises_the_error(number, error):
    before = signal.getsignal(number)
    with pytest.raises(error) as found, StopSignals(error):
        os.kill(os.getpid(), number)
    assert found.value.exit_code == 128 + number
    assert signal.getsignal(number) == before


def test_a_held_signal_raises_when_what_was_begun_is_whole():
    done = []

    def work():
        with StopSignals() as signals:
            with signals.held():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("whole")
            done.append("after")

    with pytest.raises(Interrupted):
        work()
    assert done == ["whole"]


def test_ignored_signals_raise_nothing():
    with StopSignals() as signals:
        signals.ignore()
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received is None
