// Emitting trace events: trace(TRACE_MAP, src, dst, from, to, size). The events and their arguments are the table of
// kernel/trace_events.h; the memory order is that of kernel/trace.h. Callable anywhere once traceinit() has run, in
// interrupts and with any locks held: no lock, no call, no failure.
#pragma once
#include "kernel/lib/races.h"
#include "kernel/proc/proc.h"
#include "kernel/trace.h"
#include "kernel/trace_events.h"

#define TRACE_CAPACITY 4096 // records of a ring unless the boot arguments say otherwise

struct ring {
  struct trace_ring header;
  struct trace_record records[]; // header.capacity of them
};

// Emitters know a ring by its head, with all they need of it at small distances.
static inline struct ring *ring_of_head(void *head) {
  return (struct ring *)((char *)head - __builtin_offsetof(struct trace_ring, head));
}

extern uint64 trace_mask;                    // bit i: event i is recorded; 0 until traceinit(). Harts have copies
extern struct trace_ring *trace_rings[NCPU]; // the header of each hart's ring, 0 where there is no hart

// Needs boot_alloc() and ncpu. frequency: of the time CSR, Hz. bootargs: the machine's, may be 0. In them,
// trace=NAME,NAME... with names of events or categories, or all, records more from the start, and
// trace_records=N makes rings of N records (a power of two is made of it).
void traceinit(uint64 frequency, const char *bootargs);
void trace_set_mask(uint64 mask); // says so in the ring: readers must know what was not recorded

// Event, hart and pid of a record as one word.
typedef uint64 __attribute__((may_alias)) trace_stamp;

// From now on this hart's records name this process, 0 for none. The stamp is kept ready but for the event, so that an
// emission has one load and one store for all three.
static inline void trace_running(struct cpu *c, int pid) {
  c->stamp = (uint64)pid << 32 | (uint64)c->id << 16;
}

// The hart cannot change meanwhile: kerneltrap() lets nobody else run while c->emitting is set. Nothing of the
// hart's is read before that: volatile accesses stay in order.
static inline __attribute__((always_inline)) void trace_emit(enum trace_event event, int count, const uint64 *args) {
  struct cpu *c = mycpu();
  c->emitting = 1;
  uint64 *head = READ_ONCE(c->ring_head);
  uint64 n = __atomic_fetch_add(head, 1, __ATOMIC_ACQUIRE);
  // As far from the record as the head is from the first: one base register for all fields, whatever gcc thinks.
  char *base = (char *)head + (n & ring_of_head(head)->header.mask) * sizeof(struct trace_record);
  asm("" : "+r"(base));
  struct trace_record *r = ring_of_head(base)->records;
  WRITE_ONCE(r->time, csr_read(time));
  WRITE_ONCE(*(trace_stamp *)&r->event, READ_ONCE(c->stamp) | event); // hart and pid too
#pragma GCC unroll 5
  for (int i = 0; i < count; i++)
    WRITE_ONCE(r->args[i], args[i]);
  fence_stores();
  WRITE_ONCE(r->sequence, n + 1);
  c->emitting = 0;
}

// Word i, 0 or 1, of a 16-byte field of characters, for arguments of kind text.
static inline uint64 trace_text(const char field[16], int i) {
  uint64 word;
  __builtin_memcpy(&word, field + 8 * i, sizeof(word));
  return word;
}

// Is any of these events recorded? By this hart's copy of the mask: any hart's says the same.
static inline int tracing(uint64 events) {
  return (READ_ONCE(mycpu()->trace_mask) & events) != 0;
}

// Arguments are evaluated only if the event is on. Their number must be the table's.
#define trace(event, ...)                                                                                              \
  do {                                                                                                                 \
    if (__builtin_expect(tracing(1UL << (event)), 0)) {                                                                \
      const uint64 args_[] = {__VA_ARGS__};                                                                            \
      _Static_assert(sizeof(args_) == event##_ARGS * sizeof(uint64), "wrong number of arguments for " #event);         \
      trace_emit(event, event##_ARGS, args_);                                                                          \
    }                                                                                                                  \
  } while (0)
