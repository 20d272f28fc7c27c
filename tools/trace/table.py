"""Records as numpy reads them (struct trace_record, kernel/trace.h), beside the table that says what they mean."""

from __future__ import annotations

import numpy as np

from tools.guest.events import ARGS, BOOT, EVENT_ROW, USER, EventInfo
from tools.guest.events import EventTable as Table

__all__ = ["ARGS", "BOOT", "EVENT_ROW", "RECORD", "USER", "EventInfo", "Table"]

RECORD = np.dtype(
    [
        ("time", "<u8"),
        ("sequence", "<u8"),
        ("event", "<u2"),
        ("hart", "<u2"),
        ("pid", "<i4"),
        ("args", "<u8", (5,)),
    ]
)
