// The trace rings, one for each hart there is, and the table of events as host tools find it in the ELF file.
// Emitting is all in trace.h; reading them is systrace.c's.
#include "kernel/trace/trace.h"
#include "kernel/mm/frame.h"

// Found by name and size by whoever reads the kernel's ELF file.
__attribute__((used)) const struct trace_event_info trace_event_table[] = TRACE_EVENT_TABLE;
__attribute__((used)) const struct trace_value_info trace_value_table[] = TRACE_VALUE_TABLE;

#define TIME_FREQUENCY 10000000 // of QEMU virt's time CSR, Hz

_Static_assert(sizeof(struct trace_record) == 64, "a record is one cache line");
_Static_assert(sizeof(struct trace_ring) == 128, "the header is two cache lines");
_Static_assert((TRACE_CAPACITY & (TRACE_CAPACITY - 1)) == 0, "slots are found by masking");
_Static_assert(TRACE_EVENT_COUNT < 63, "one mask bit each, and no mask looks like -1");

uint64 trace_mask;
struct trace_ring *trace_rings[NCPU];

#define X(id, constant, name, category, flags, count, arguments) | (uint64) !!((flags)&TRACE_BOOT) << id
static const uint64 boot_mask = 0 TRACE_EVENTS(X);
#undef X

// Gives each hart its ring and starts recording the events that are on from power-on.
void traceinit(void) {
  for (int i = 0; i < ncpu; i++) {
    struct trace_ring *ring = boot_alloc(sizeof(struct ring));
    *ring = (struct trace_ring){.magic = TRACE_MAGIC,
                                .version = TRACE_VERSION,
                                .record_size = sizeof(struct trace_record),
                                .capacity = TRACE_CAPACITY,
                                .hart = i,
                                .frequency = TIME_FREQUENCY,
                                .records_offset = sizeof(struct trace_ring)};
    trace_rings[i] = ring;
    cpus[i].ring = ring;
  }
  trace_mask = boot_mask;
}
