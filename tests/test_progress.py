from unetkit.progress import SILENT, subrange


class Recorder:
    def __init__(self):
        self.calls = []

    def update(self, done=0.0, total=0.0, message="", **values):
        self.calls.append((done, total, message, values))


def test_a_subrange_of_a_subrange_scales_the_share():
    bar = Recorder()
    half = subrange(bar, 0.5, 1.0)
    quarter = subrange(half, 0.0, 0.5)
    quarter.update(1, 2, loss=0.25)
    assert bar.calls == [(0.625, 1.0, "", {"loss": 0.25})]


def test_a_message_alone_does_not_move_the_share():
    bar = Recorder()
    subrange(bar, 0.2, 0.4).update(message="resumed at step 5")
    assert bar.calls == [(0.0, 0.0, "resumed at step 5", {})]


def test_silent_takes_everything():
    SILENT.update(1, 2, "words", step=3)
