import threading
import time

import pytest

from vsr_plugin.restoration.pipeline import BackgroundWriter, Prefetcher, until


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("n", [0, 1, 20])
def test_items_come_in_order(n):
    with Prefetcher(range(n), ahead=3) as items:
        assert list(items) == list(range(n))


def test_reads_ahead_but_no_further():
    taken = []

    def count():
        for i in range(50):
            taken.append(i)
            yield i

    with Prefetcher(count(), ahead=2) as items:
        assert next(items) == 0
        time.sleep(0.3)
        assert 2 <= len(taken) <= 4


def test_an_error_comes_after_the_items_before_it():
    def fail():
        yield from range(3)
        raise OSError("disk")

    seen = []
    with Prefetcher(fail(), ahead=10) as items, pytest.raises(OSError, match="disk"):
        seen.extend(items)
    assert seen == [0, 1, 2]


def test_leaving_ends_what_is_collected_in_the_thread():
    stop, seen = threading.Event(), []

    def collected(frames):
        yield 0
        seen.extend(frames)  # does not end by itself
        yield 1

    def frames():
        while True:
            time.sleep(0.01)
            yield 0

    with Prefetcher(collected(until(stop, frames())), stop=stop) as items:
        assert next(items) == 0
        time.sleep(0.1)
        begin = time.perf_counter()
    assert time.perf_counter() - begin < 5
    assert seen


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_leaving_early_closes_the_iterator(fault):
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    def leave():
        with Prefetcher(endless(), ahead=2) as items:
            next(items)
            raise fault

    with pytest.raises(fault):
        leave()
    assert closed.is_set()


def test_reader_that_is_never_asked():
    with Prefetcher(range(5)):
        pass


def test_calls_are_made_in_order_and_waited_for():
    done = []
    with BackgroundWriter(ahead=2) as writer:
        for i in range(20):
            writer.submit(lambda i=i: (time.sleep(0.001), done.append(i)))
    assert done == list(range(20))


def test_a_slow_writer_holds_up_its_caller():
    gate, done = threading.Event(), []
    with BackgroundWriter(ahead=1) as writer:
        writer.submit(gate.wait)
        writer.submit(lambda: done.append(1))
        threading.Timer(0.2, gate.set).start()
        begin = time.perf_counter()
        writer.submit(lambda: done.append(2))
        writer.submit(lambda: done.append(3))
        assert time.perf_counter() - begin > 0.1
    assert done == [1, 2, 3]


def test_an_error_comes_out_of_the_next_call_or_the_end():
    def fail():
        raise OSError("full")

    def go_on():
        with BackgroundWriter() as writer:
            writer.submit(fail)
            for _ in range(100):
                writer.submit(lambda: done.append(1))
                time.sleep(0.01)

    done = []
    with pytest.raises(OSError, match="full"):
        go_on()
    assert done == []
    with pytest.raises(OSError, match="full"), BackgroundWriter() as writer:
        writer.submit(fail)


def test_an_error_can_be_said_at_once():
    said = threading.Event()

    def wait_for_it():
        with BackgroundWriter(on_error=lambda error: said.set()) as writer:
            writer.submit(lambda: 1 / 0)
            assert said.wait(5)

    with pytest.raises(ZeroDivisionError):
        wait_for_it()


def test_an_iterator_that_takes_from_another_thread_ends_with_it():
    stop, gate = threading.Event(), threading.Event()

    def slow():
        yield 0
        gate.wait(20)

    with Prefetcher(slow(), ahead=0, stop=stop) as items, Prefetcher(items, stop=stop) as again:
        assert next(again) == 0
        gate.set()


def test_calls_that_wait_are_dropped_on_an_exception():
    done, started = [], threading.Event()

    def interrupt():
        with BackgroundWriter(ahead=10) as writer:
            writer.submit(lambda: (started.set(), time.sleep(0.2)))
            for _ in range(5):
                writer.submit(lambda: done.append(1))
            started.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert done == []
