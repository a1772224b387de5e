"""A clock for tests that wait."""

#: When it starts, in seconds since 1970.
START = 1795377797


class Clock:
    """Stands in for `time`: waiting takes no time, and `plan` happens meanwhile."""

    def __init__(self):
        self.now = START
        self.plan = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        while self.plan and self.now >= self.plan[0][0]:
            self.plan.pop(0)[1]()
