// The table of events of an observed kernel: ours, and what only breakpoints can see. Compiled, never run; the host
// reads it out of the object as it reads a kernel's own.
#include "kernel/trace_events.h"

#define OBSERVED(X)                                                                                                    \
  X(40, ACQUIRE, "acquire", "lock", 0, 2, "lock:symbol caller:symbol")                                                 \
  X(41, RELEASE, "release", "lock", 0, 2, "lock:symbol caller:symbol")

const struct trace_event_info trace_event_table[] = {TRACE_EVENTS(TRACE_EVENT_ROW) OBSERVED(TRACE_EVENT_ROW)};
const struct trace_value_info trace_value_table[] = TRACE_VALUE_TABLE;
