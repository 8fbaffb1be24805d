"""TensorBoard's event file, written as the other logs are: at our moments, by whole records, and on past a full disk.

TensorBoard's own writer appends from a thread that one failed write ends, and a killed process loses what was queued.
"""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

from gan_lab.runs.files import Appender

LIMIT_BYTES = 64 * 2**20  # kept in memory while the disk takes nothing


class EventFile(SummaryWriter):
    """A SummaryWriter for `folder`. What it is given lies in memory until `flush`, which never raises OSError.

    `purge_step`: TensorBoard forgets the events of earlier files in the folder from this step on.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        found = (re.match(r"events\.out\.tfevents\.(\d+)\.", path.name) for path in folder.glob("events.out.*"))
        times = [int(match[1]) for match in found if match]
        # TensorBoard reads the files in the order of their names: later than all others, whatever the clock says.
        stamp = max([int(time.time()), *(t + 1 for t in times)])
        name = f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
        self.appender = Appender(folder / name, LIMIT_BYTES)
        super().__init__(str(folder), purge_step=purge_step if times else None)

    def _get_file_writer(self) -> FileWriter:
        """Called by every `add_...`; replaces the writer with the thread."""
        if self.file_writer is not None:
            return self.file_writer
        writer = _Writer(self.appender)
        writer.add_event(Event(file_version="brain.Event:2"))
        if self.purge_step is not None:
            writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), self.purge_step)
        self.file_writer, self.all_writers = writer, {self.log_dir: writer}  # type: ignore[assignment]
        return writer


class _Writer(FileWriter):
    """Gives events their time and step, and passes them on as records."""

    def __init__(self, appender: Appender) -> None:
        self.event_writer: Any = _Records(appender)


class _Records:
    """What FileWriter expects of an event writer."""

    def __init__(self, appender: Appender) -> None:
        self.appender = appender
        self.records = RecordWriter(self)

    def get_logdir(self) -> str:
        return str(self.appender.path.parent)

    def add_event(self, event: Event) -> None:
        self.records.write(event.SerializeToString())

    def write(self, record: bytes) -> None:
        """Called by RecordWriter with one framed record."""
        self.appender.add(record)

    def flush(self) -> None:
        self.appender.flush()

    def close(self) -> None:
        self.appender.flush()
