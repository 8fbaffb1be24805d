"""TensorBoard's event file, written like the other logs: in whole records, on `flush`, surviving a full disk.

TensorBoard's own writer uses a thread. One failed write ends that thread, and a killed process loses its queue.
"""

import os
import re
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

from gan_lab.runs.files import Appender

LIMIT_BYTES = 64 * 2**20  # of events kept in memory while writing fails


class EventFile(SummaryWriter):
    """A SummaryWriter for `folder`. Events stay in memory until `flush`, which never raises OSError.

    `purge_step`: TensorBoard ignores events from this step on in earlier files of the folder.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        found = (re.match(r"events\.out\.tfevents\.(\d+)\.", path.name) for path in folder.glob("events.out.*"))
        times = [int(match[1]) for match in found if match]
        # TensorBoard reads files in the order of their names, so this one must sort last whatever the clock says.
        stamp = max([int(time.time()), *(t + 1 for t in times)])
        name = f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
        self.appender = Appender(folder / name, LIMIT_BYTES)
        super().__init__(str(folder), purge_step=purge_step if times else None)

    def _get_file_writer(self) -> FileWriter:
        """Return our writer instead of the one with a thread. Every `add_...` calls this."""
        if self.file_writer is not None:
            return self.file_writer
        writer = _Writer(self.appender)
        writer.add_event(Event(file_version="brain.Event:2"))
        if self.purge_step is not None:
            writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), self.purge_step)
        self.file_writer, self.all_writers = writer, {self.log_dir: writer}  # type: ignore[assignment]
        return writer


class _Writer(FileWriter):
    """Adds time and step to events."""

    def __init__(self, appender: Appender) -> None:
        self.event_writer: Any = _Records(appender)


class _Records:
    """The event writer that FileWriter needs: serializes events, and appends them in the frames of RecordWriter."""

    def __init__(self, appender: Appender) -> None:
        self.appender, self.records = appender, RecordWriter(SimpleNamespace(write=appender.add))

    def get_logdir(self) -> str:
        return str(self.appender.path.parent)

    def add_event(self, event: Event) -> None:
        self.records.write(event.SerializeToString())

    def flush(self) -> None:
        self.appender.flush()

    def close(self) -> None:
        self.appender.flush()
