// The trace rings, one for each hart there is, and the table of events as host tools find it in the ELF file.
// Emitting is all in trace.h; reading them is systrace.c's.
#include "kernel/trace/trace.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"

// Found by name and size by whoever reads the kernel's ELF file.
__attribute__((used)) const struct trace_event_info trace_event_table[] = TRACE_EVENT_TABLE;
__attribute__((used)) const struct trace_value_info trace_value_table[] = TRACE_VALUE_TABLE;

#define SMALLEST_RING 64       // many times what interrupts can emit in the middle of one emission
#define LARGEST_RING (1 << 21) // 128 MiB for each hart

_Static_assert(sizeof(struct trace_record) == 64, "a record is one cache line");
_Static_assert(sizeof(struct trace_ring) == 128, "the header is two cache lines");
_Static_assert(TRACE_EVENT_COUNT < 63, "one mask bit each, and no mask looks like -1");

uint64 trace_mask;
struct trace_ring *trace_rings[NCPU];

// Is the word that ends at a comma, a blank or the end of the string this one?
static int is_word(const char *s, int n, const char *word) {
  return (int)strlen(word) == n && strncmp(s, word, n) == 0;
}

// The events that the word of n characters at s names.
static uint64 events_named(const char *s, int n) {
  uint64 found = 0;
  for (int i = 0; i < (int)(sizeof(trace_event_table) / sizeof(trace_event_table[0])); i++) {
    const struct trace_event_info *event = &trace_event_table[i];
    if (is_word(s, n, "all") || is_word(s, n, event->name) || is_word(s, n, event->category))
      found |= 1UL << event->id;
  }
  return found;
}

// What follows `key` in the boot arguments; an empty string if it is not there.
static const char *value_of(const char *key, const char *bootargs) {
  const char *s = bootargs ? bootargs : "";
  int n = strlen(key);
  while (*s && strncmp(s, key, n) != 0)
    s++;
  return *s ? s + n : s;
}

static uint64 events_in(const char *bootargs) {
  uint64 found = 0;
  const char *s = value_of("trace=", bootargs);
  while (*s && *s != ' ') {
    int n = 0;
    while (s[n] && s[n] != ',' && s[n] != ' ')
      n++;
    found |= events_named(s, n);
    s += n + (s[n] == ',');
  }
  return found;
}

// Records of a ring: the largest power of two up to what is asked for, within reason.
static uint32 capacity_in(const char *bootargs) {
  uint64 wanted = 0;
  uint32 capacity = SMALLEST_RING;
  for (const char *s = value_of("trace_records=", bootargs); *s >= '0' && *s <= '9' && wanted < LARGEST_RING; s++)
    wanted = wanted * 10 + *s - '0';
  while (capacity * 2 <= wanted && capacity < LARGEST_RING)
    capacity *= 2;
  return wanted ? capacity : TRACE_CAPACITY;
}

#define X(id, constant, name, category, flags, count, arguments) | (uint64) !!((flags)&TRACE_BOOT) << id
static const uint64 boot_mask = 0 TRACE_EVENTS(X);
#undef X

// Harts that set masks at the same time may overwrite each other's copies; the last to look sees to all of them.
static void copy_mask(void) {
  uint64 mask;
  do {
    mask = __atomic_load_n(&trace_mask, __ATOMIC_SEQ_CST);
    for (int i = 0; i < ncpu; i++)
      __atomic_store_n(&cpus[i].trace_mask, mask, __ATOMIC_SEQ_CST);
  } while (__atomic_load_n(&trace_mask, __ATOMIC_SEQ_CST) != mask);
}

void trace_set_mask(uint64 mask) {
  uint64 old = __atomic_exchange_n(&trace_mask, mask | 1UL << TRACE_MASK, __ATOMIC_SEQ_CST);
  copy_mask();
  trace(TRACE_MASK, old, mask | 1UL << TRACE_MASK);
}

// Gives each hart its ring and starts recording.
void traceinit(uint64 frequency, const char *bootargs) {
  uint32 capacity = capacity_in(bootargs);
  for (int i = 0; i < ncpu; i++) {
    struct trace_ring *ring = boot_alloc(sizeof(struct ring) + capacity * sizeof(struct trace_record));
    *ring = (struct trace_ring){.magic = TRACE_MAGIC,
                                .version = TRACE_VERSION,
                                .record_size = sizeof(struct trace_record),
                                .capacity = capacity,
                                .mask = capacity - 1,
                                .hart = i,
                                .frequency = frequency,
                                .records_offset = sizeof(struct trace_ring)};
    trace_rings[i] = ring;
    cpus[i].ring_head = &ring->head;
    cpus[i].id = i;
    trace_running(&cpus[i], 0);
  }
  trace_set_mask(boot_mask | events_in(bootargs));
}
