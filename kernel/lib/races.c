// The runtime of `make RACES=1`: finds data races between harts as Linux's KCSAN does, by watching. gcc's
// -fsanitize=thread calls these functions at every access to memory. One in SKIP accesses of a hart is held up for a
// moment, its eight bytes watched meanwhile; another hart that touches them, with a write on either side, makes a
// report that names both. Nothing is inferred, so every report is true.
//
// Atomic and volatile accesses are marked: two of them are no race, one of them and a plain access is.
#include "kernel/lib/races.h"
#include "kernel/boot/boot.h"
#include "kernel/lib/lib.h"
#include "kernel/proc/proc.h"

#ifdef RACES

#define SKIP 60    // accesses of a hart between two that are watched, about
#define HOLD 50000 // parts of a second an access is held up for: one
#define SLOTS 256
#define REPORTED 128       // pairs of places that are reported once
#define ATTEMPTS (1 << 26) // of all harts to meet at the planted race: then the run fails for want of its report

enum kind { READ = 0, WRITE = 1, MARKED = 2 };

// A slot is 0, or what it watches: the word's address >> 3 above CODE_BITS, the bytes of it, and whether they are
// written; or what became of that.
#define CODE_BITS 9
#define BEING_TOLD 1UL // another hart touches it, and fills `other`
#define TOLD 3UL

struct access {
  uint64 pc;
  uint64 address;
  uint64 size;
  int kind;
  int hart;
};

static uint64 slots[SLOTS];        // atomic
static struct access other[SLOTS]; // of whoever made the slot BEING_TOLD, then of the watcher
static int countdown[NCPU];        // a hart's own, roughly: atomic
static int busy[NCPU];             // a hart's own: in here, and what it calls is not watched
static uint64 seen[REPORTED][2];   // atomic
int planted_race;
static int watching;    // set once
static int proven;      // two harts have met; set once
static uint32 attempts; // to meet; atomic

void races_watch(void) {
  __atomic_store_n(&proven, ncpu == 1, __ATOMIC_RELAXED); // nobody to meet
  __atomic_store_n(&watching, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < ncpu; i++)
    ring_hart(i);
}

int races_unproven(void) {
  return __atomic_load_n(&watching, __ATOMIC_ACQUIRE) && !__atomic_load_n(&proven, __ATOMIC_RELAXED) &&
         __atomic_fetch_add(&attempts, 1, __ATOMIC_RELAXED) < ATTEMPTS;
}

// Is this pair of places new? Atomic, so that two harts don't tell the same.
static int is_new(uint64 a, uint64 b) {
  for (int i = 0; i < REPORTED; i++) {
    uint64 none = 0;
    if (__atomic_compare_exchange_n(&seen[i][0], &none, a, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
      seen[i][1] = b;
      return 1;
    }
    if ((none == a && seen[i][1] == b) || (none == b && seen[i][1] == a))
      return 0;
  }
  return 0;
}

static const char *kind_name(int kind) {
  static const char *const names[] = {"read", "write", "marked read", "marked write"};
  return names[kind];
}

static void report(const struct access *a, const struct access *b) {
  if (is_new(a->pc, b->pc))
    printf("race: %s of %lu bytes at 0x%lx, pc 0x%lx, hart %d, and %s of %lu bytes at 0x%lx, pc 0x%lx, hart %d\n",
           kind_name(a->kind), a->size, a->address, a->pc, a->hart, kind_name(b->kind), b->size, b->address, b->pc,
           b->hart);
  if (a->address == (uint64)&planted_race)
    __atomic_store_n(&proven, 1, __ATOMIC_RELAXED);
}

static uint64 code_of(const struct access *a) {
  uint64 bytes = ((1UL << a->size) - 1) << (a->address & 7) & 0xff;
  return a->address >> 3 << CODE_BITS | bytes << 1 | (a->kind & WRITE);
}

// Do two accesses of one word share a byte, and does one of them write it?
static int conflict(uint64 a, uint64 b) {
  return a >> CODE_BITS == b >> CODE_BITS && (a & b & 0x1fe) && ((a | b) & 1);
}

// Interrupts are off. The word's slot may be in use by another hart: then this access is not watched.
static void watch(uint64 *slot, const struct access *mine, uint64 code) {
  uint64 expected = 0;
  if (!__atomic_compare_exchange_n(slot, &expected, code, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
    return;
  uint64 end = time_now() + machine.timer_frequency / HOLD;
  while (time_now() < end && __atomic_load_n(slot, __ATOMIC_RELAXED) == code)
    ;
  expected = code;
  if (__atomic_compare_exchange_n(slot, &expected, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
    return;
  while (__atomic_load_n(slot, __ATOMIC_ACQUIRE) != TOLD)
    ;
  report(mine, &other[slot - slots]);
  __atomic_store_n(slot, 0, __ATOMIC_RELEASE);
}

static void met(uint64 *slot, uint64 there, const struct access *mine) {
  if (!__atomic_compare_exchange_n(slot, &there, BEING_TOLD, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    return;
  other[slot - slots] = *mine;
  __atomic_store_n(slot, TOLD, __ATOMIC_RELEASE);
}

static void check(uint64 address, uint64 size, int kind, uint64 pc) {
  if (!__atomic_load_n(&watching, __ATOMIC_RELAXED) || panicked)
    return;
  int hart = mycpu()->id; // this process may go to another hart any moment: then both counts are a little wrong
  if (busy[hart])
    return;
  struct access mine = {pc, address, size, kind, hart};
  uint64 code = code_of(&mine), *slot = &slots[(address >> 3) % SLOTS];
  uint64 there = __atomic_load_n(slot, __ATOMIC_RELAXED);
  int hit = conflict(there, code);
  if (!hit && ((kind & MARKED) || __atomic_sub_fetch(&countdown[hart], 1, __ATOMIC_RELAXED) > 0))
    return;
  int enabled = (csr_fetch_clear(sstatus, SSTATUS_SIE) & SSTATUS_SIE) != 0;
  mine.hart = hart = mycpu()->id;
  busy[hart] = 1;
  if (hit) {
    met(slot, there, &mine);
  } else {
    countdown[hart] = SKIP / 2 + (int)(time_now() * 2654435761u >> 8 & 0xffff) % SKIP;
    watch(slot, &mine, code);
  }
  busy[hart] = 0;
  if (enabled)
    csr_set(sstatus, SSTATUS_SIE);
}

// ---- what gcc calls ----

#define HERE ((uint64)__builtin_return_address(0))

#define PLAIN(n)                                                                                                       \
  void __tsan_read##n(void *p);                                                                                        \
  void __tsan_write##n(void *p);                                                                                       \
  void __tsan_volatile_read##n(void *p);                                                                               \
  void __tsan_volatile_write##n(void *p);                                                                              \
  void __tsan_read##n(void *p) {                                                                                       \
    check((uint64)p, n, READ, HERE);                                                                                   \
  }                                                                                                                    \
  void __tsan_write##n(void *p) {                                                                                      \
    check((uint64)p, n, WRITE, HERE);                                                                                  \
  }                                                                                                                    \
  void __tsan_volatile_read##n(void *p) {                                                                              \
    check((uint64)p, n, READ | MARKED, HERE);                                                                          \
  }                                                                                                                    \
  void __tsan_volatile_write##n(void *p) {                                                                             \
    check((uint64)p, n, WRITE | MARKED, HERE);                                                                         \
  }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)

// A long stretch, of which one word is looked at: another each time.
static void check_range(uint64 p, uint64 n, int kind, uint64 pc) {
  uint64 at = n > 8 ? time_now() % n & ~7UL : 0;
  check(p + at, n - at < 8 ? n - at : 8, kind, pc);
}

void __tsan_read16(void *p);
void __tsan_write16(void *p);
void __tsan_read_range(void *p, uint64 n);
void __tsan_write_range(void *p, uint64 n);
void __tsan_init(void);

void __tsan_read16(void *p) {
  check_range((uint64)p, 16, READ, HERE);
}
void __tsan_write16(void *p) {
  check_range((uint64)p, 16, WRITE, HERE);
}
void __tsan_read_range(void *p, uint64 n) {
  check_range((uint64)p, n, READ, HERE);
}
void __tsan_write_range(void *p, uint64 n) {
  check_range((uint64)p, n, WRITE, HERE);
}
void __tsan_init(void) {}

// Atomic operations are done here, in the strongest order whatever was asked for.
#define FETCH(bits, type, name, kind)                                                                                  \
  type __tsan_atomic##bits##_##name(volatile type *p, type v, int order);                                              \
  type __tsan_atomic##bits##_##name(volatile type *p, type v, int order) {                                             \
    (void)order;                                                                                                       \
    check((uint64)p, bits / 8, kind | MARKED, HERE);                                                                   \
    return __atomic_##name##_n(p, v, __ATOMIC_SEQ_CST);                                                                \
  }
#define FETCH_OP(bits, type, name)                                                                                     \
  type __tsan_atomic##bits##_##name(volatile type *p, type v, int order);                                              \
  type __tsan_atomic##bits##_##name(volatile type *p, type v, int order) {                                             \
    (void)order;                                                                                                       \
    check((uint64)p, bits / 8, WRITE | MARKED, HERE);                                                                  \
    return __atomic_##name(p, v, __ATOMIC_SEQ_CST);                                                                    \
  }
#define COMPARE(bits, type, name)                                                                                      \
  int __tsan_atomic##bits##_##name(volatile type *p, type *expected, type v, int success, int failure);                \
  int __tsan_atomic##bits##_##name(volatile type *p, type *expected, type v, int success, int failure) {               \
    (void)success;                                                                                                     \
    (void)failure;                                                                                                     \
    check((uint64)p, bits / 8, WRITE | MARKED, HERE);                                                                  \
    return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                         \
  }
#define ACCESSES(bits, type)                                                                                           \
  type __tsan_atomic##bits##_load(const volatile type *p, int order);                                                  \
  void __tsan_atomic##bits##_store(volatile type *p, type v, int order);                                               \
  type __tsan_atomic##bits##_load(const volatile type *p, int order) {                                                 \
    (void)order;                                                                                                       \
    check((uint64)p, bits / 8, READ | MARKED, HERE);                                                                   \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                       \
  }                                                                                                                    \
  void __tsan_atomic##bits##_store(volatile type *p, type v, int order) {                                              \
    (void)order;                                                                                                       \
    check((uint64)p, bits / 8, WRITE | MARKED, HERE);                                                                  \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                                          \
  }
#define CHANGES(bits, type)                                                                                            \
  FETCH(bits, type, exchange, WRITE)                                                                                   \
  FETCH_OP(bits, type, fetch_add)                                                                                      \
  FETCH_OP(bits, type, fetch_sub)                                                                                      \
  FETCH_OP(bits, type, fetch_and)                                                                                      \
  FETCH_OP(bits, type, fetch_or)                                                                                       \
  COMPARE(bits, type, compare_exchange_strong)                                                                         \
  COMPARE(bits, type, compare_exchange_weak)
ACCESSES(8, uchar)
ACCESSES(16, uint16)
ACCESSES(32, uint32)
ACCESSES(64, uint64)
CHANGES(32, uint32)
CHANGES(64, uint64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order) {
  (void)order;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#endif
