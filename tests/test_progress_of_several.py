"""One bar over several inputs: what it counts, and what it expects of those that are still to come."""

from vsr_plugin.progress import SeveralProgress


def test_inputs_to_come_count_as_long_as_the_others():
    with SeveralProgress(4) as total:
        assert total.bar.total is None
        total.expect("a", 10)
        assert total.bar.total == 40
        total.expect("b", None)  # one that does not say
        total.expect("c", 30)
        assert total.bar.total == 80
        total.update("a", 4.5)
        total.update("c", 2)
        assert total.bar.n == 6.5


def test_what_cannot_be_restored_is_forgotten():
    with SeveralProgress(3) as total:
        total.expect("a", 10)
        total.expect("b", 20)
        total.update("b", 8)
        total.update("a", 1)
        total.leave_out("b")
        assert (total.bar.n, total.bar.total) == (1, 20)
        total.leave_out("c")
        assert (total.bar.n, total.bar.total) == (1, 10)
