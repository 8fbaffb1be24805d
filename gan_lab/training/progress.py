"""Progress: a bar on a terminal or in a notebook, else one line per interval. And signals that ask to stop."""

import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from tqdm import tqdm

from gan_lab.errors import handling, signal_name, signals_here
from gan_lab.progress import duration, shows_bars

log = logging.getLogger(__name__)

RECENT = 5  # the intervals that the time left is told from


class Progress:
    """Counts steps and tells speed and time left."""

    def __init__(self, step: int, total_steps: int, images_per_step: int, quiet: bool = False) -> None:
        self.total_steps, self.images_per_step, self.quiet = total_steps, images_per_step, quiet
        off = quiet or not shows_bars()
        self.bar = tqdm(total=total_steps, initial=step, disable=off, unit="step", dynamic_ncols=True)
        self._began, self._steps, self._paused = time.perf_counter(), 0, 0.0
        self._reported = 0, 0.0  # steps and seconds of training up to the last interval's end
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT)  # steps and seconds of intervals

    def advance(self) -> None:
        """One more step is done."""
        self._steps += 1
        self.bar.update()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Time spent on evaluation, samples and checkpoints does not count as training speed."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._paused += time.perf_counter() - start

    def _since_reported(self) -> tuple[int, float]:
        """Return the steps since the last interval's end, and their seconds of training."""
        steps, seconds = self._reported
        return self._steps - steps, time.perf_counter() - self._began - self._paused - seconds

    def _speed(self, intervals: Collection[tuple[int, float]]) -> float | None:
        steps = sum(number for number, _ in intervals)
        return steps * self.images_per_step / sum(seconds for _, seconds in intervals) if steps else None

    def end_interval(self) -> float | None:
        """Return the real images a second that D has been shown since the last call; None if there was no step."""
        steps, seconds = interval = self._since_reported()
        self._reported = self._reported[0] + steps, self._reported[1] + seconds
        self._recent.append(interval)
        return self._speed([interval])

    def images_per_second(self, rows: Iterable[dict[str, Any]]) -> float | None:
        """Return the real images a second over the training of all processes; None if this one has trained nothing.

        rows: the run's rows of train.jsonl, which tell each interval's images and speed.
        """
        steps, seconds = self._since_reported()  # after the last row
        images, seen = steps * self.images_per_step, 0
        for row in rows:
            new, speed = row.get("images_seen", seen) - seen, row.get("images_per_second")
            seen += new
            if speed and new > 0:
                images, seconds = images + new, seconds + new / speed
        return images / seconds if self._steps and images else None

    def report(self, step: int, values: dict[str, float]) -> None:
        """Show the interval's values: in the bar on a terminal, else as a line of the log."""
        shown = {k.removeprefix("loss/"): f"{v:.3g}" for k, v in values.items() if k.startswith("loss/")}
        if not self.bar.disable:
            self.bar.set_postfix(shown, refresh=False)
        if self.quiet or not self.bar.disable:
            return
        speed, lately = values["images_per_second"], self._speed(self._recent)
        if lately is None:
            return
        left = (self.total_steps - step) * self.images_per_step / lately
        losses = "  ".join(f"{k} {v}" for k, v in shown.items())
        log.info("step %d/%d  %s  %.0f images/s  %s left", step, self.total_steps, losses, speed, duration(left))

    def close(self) -> None:
        """Leave the terminal tidy."""
        self.bar.close()


class StopSignal:
    """Remembers a signal that asks to stop, so that the loop can write a checkpoint and stop after its step.

    SIGTERM, SIGINT, SIGUSR1 (Slurm's warning), and SIGHUP (a closed terminal), which stays ignored under nohup. A
    second SIGINT stops at once. Outside the main thread signals cannot be caught; then nothing is installed.
    """

    NUMBERS = signals_here("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")

    def __init__(self) -> None:
        self.received: int | None = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received is not None:
            sys.exit(128 + number)
        self.received = number
        log.warning("got %s: stopping after this step", signal_name(number))

    @contextmanager
    def installed(self) -> Iterator[Self]:
        """Catch the signals inside the block."""
        kept = [n for n in signals_here("SIGHUP") if signal.getsignal(n) is signal.SIG_IGN]
        numbers = [n for n in self.NUMBERS if n not in kept]
        with handling(numbers, self._on_signal):
            yield self
