// The system calls of tracing: emit a user event, choose what is recorded, read a hart's ring.
// Readers take no lock: the ring's protocol (kernel/trace.h) tells them what to believe.
#include "kernel/lib/lib.h"
#include "kernel/mm/user.h"
#include "kernel/proc/syscall.h"
#include "kernel/trace/trace.h"

#define X(id, constant, name, category, flags, count, arguments) | 1UL << id
static const uint64 events_there = 0 TRACE_EVENTS(X);
#undef X
#define X(id, constant, name, category, flags, count, arguments) | (uint64) !!((flags)&TRACE_USER) << id
static const uint64 user_events = 0 TRACE_EVENTS(X);
#undef X

// trace_mark(event, a0, ..., a4): records a user event of the caller. 0, also while the event is off; -1 if programs
// may not emit it.
uint64 sys_trace_mark(void) {
  uint64 event = argument(0);
  if (event >= TRACE_EVENT_COUNT || !(user_events >> event & 1))
    return -1;
  if (tracing(1UL << event))
    trace_emit(event, TRACE_ARGS, arguments() + 1);
  return 0;
}

static struct trace_ring *ring_of(uint64 hart) {
  return hart < NCPU ? trace_rings[hart] : 0;
}

// trace_control(what, value): see kernel/trace.h. -1 for an unknown request.
uint64 sys_trace_control(void) {
  uint64 value = argument(1);
  struct trace_ring *ring;
  switch (argint(0)) {
  case TRACE_GET_MASK:
    return READ_ONCE(trace_mask);
  case TRACE_SET_MASK:
    trace_set_mask(value & events_there);
    return 0;
  case TRACE_HEAD:
    ring = ring_of(value);
    return ring ? __atomic_load_n(&ring->head, __ATOMIC_RELAXED) : -1UL;
  case TRACE_NOW:
    return csr_read(time);
  default:
    return -1;
  }
}

enum copied { COPIED, BUSY, OVERWRITTEN };

// Copies record n of the ring: COPIED; BUSY if it is not there yet; OVERWRITTEN if its slot went to a later record.
static enum copied copy_record(struct trace_ring *ring, uint64 n, struct trace_record *out) {
  const struct trace_record *slot = &((struct ring *)ring)->records[n & ring->mask];
  const uint64 *from = (const uint64 *)slot;
  uint64 *to = (uint64 *)out;
  uint64 sequence = __atomic_load_n(&slot->sequence, __ATOMIC_ACQUIRE);
  for (uint i = 0; i < sizeof(*out) / sizeof(uint64); i++)
    to[i] = READ_ONCE(from[i]);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (__atomic_load_n(&ring->head, __ATOMIC_RELAXED) > n + ring->capacity)
    return OVERWRITTEN;
  return sequence == n + 1 ? COPIED : BUSY;
}

// trace_read(hart, cursor, records, n): copies up to n of the hart's records from the cursor on, oldest first, and
// moves the cursor. -> how many, 0 when there is none yet; -1 for a bad hart or address. Records overwritten before
// they were read are added to cursor->lost. A reader that is overtaken while it copies gives up ever more of the oldest
// records, so that an emitter in full flight cannot hold it in the loop.
uint64 sys_trace_read(void) {
  struct trace_ring *ring = ring_of(argument(0));
  int n = argint(3);
  struct trace_cursor cursor;
  struct trace_record record;
  struct span records, cursor_span;
  if (!ring || n < 0 || user_span(&cursor_span, argument(1), sizeof(cursor)) < 0 ||
      user_span(&records, argument(2), (uint64)n * sizeof(record)) < 0 || span_check(cursor_span, ACCESS_WRITE) < 0 ||
      span_read(&cursor, cursor_span, 0, sizeof(cursor)) < 0)
    return -1;
  if (n > (int)ring->capacity)
    n = ring->capacity;

  int got = 0;
  uint64 keep = ring->capacity; // how far behind head records are still worth trying
  while (got < n) {
    uint64 head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    if (cursor.position >= head)
      break;
    if (head - cursor.position > keep) {
      cursor.lost += head - keep - cursor.position;
      cursor.position = head - keep;
    }
    enum copied result = copy_record(ring, cursor.position, &record);
    if (result == BUSY)
      break;
    if (result == OVERWRITTEN) {
      keep -= keep / 4;
      continue;
    }
    if (span_write(records, (uint64)got * sizeof(record), &record, sizeof(record)) < 0)
      return -1;
    got++;
    cursor.position++;
  }
  return span_write(cursor_span, 0, &cursor, sizeof(cursor)) < 0 ? -1UL : (uint64)got;
}
