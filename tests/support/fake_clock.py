"""A fake clock for tests of code that waits."""

#: The initial time in seconds since 1970.
START = 1795377797


class Clock:
    """Replaces the module `time`: sleep() returns at once and runs what is due in `plan`, (time, function) pairs."""

    def __init__(self):
        self.now = START
        self.plan = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        while self.plan and self.now >= self.plan[0][0]:
            self.plan.pop(0)[1]()
