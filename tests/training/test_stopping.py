"""Signals as an event, inside the block only; and in other threads nothing is touched."""

import os
import signal
import threading

import pytest

from antiphon.training.stopping import asked_to_stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_event(number):
    before = signal.getsignal(number)
    with asked_to_stop() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), number)
        assert asked.is_set()
    assert signal.getsignal(number) is before


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="in the block"), asked_to_stop():
        raise RuntimeError("in the block")
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_has_no_signals():
    seen = []

    def enter():
        with asked_to_stop() as asked:
            seen.append(asked.is_set())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [False]
