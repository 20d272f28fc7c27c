// What the test programs share: a check that reports and goes on, and asking the kernel about process and memory.
// A program ends with `return report();`: 0, or 1 after the failures it has printed.
#pragma once
#include "kernel/crypto.h"
#include "kernel/info.h"
#include "kernel/param.h"
#include "kernel/types.h"
#include "user/user.h"

#define PAGE 4096UL

static int failures;

// expression must be true; says which one was not.
#define CHECK(expression)                                                                                              \
  do {                                                                                                                 \
    if (!(expression)) {                                                                                               \
      failures++;                                                                                                      \
      printf("FAILED line %d: %s\n", __LINE__, #expression);                                                           \
    }                                                                                                                  \
  } while (0)

static inline int report(void) {
  if (failures == 0)
    printf("all checks hold\n");
  return failures != 0;
}

// What the kernel says of a process; pid 0 in the answer if there is none.
static inline struct procinfo info_of(int pid) {
  static struct procinfo rows[NPROC];
  int n = procinfo(rows, NPROC);
  for (int i = 0; i < n; i++)
    if (rows[i].pid == pid)
      return rows[i];
  return (struct procinfo){0};
}

static inline uint64 free_frames(void) {
  struct meminfo m;
  return meminfo(&m) < 0 ? 0 : m.free;
}

// Returns once the process sleeps, or has gone. Polls: what keeps it from sleeping ends by itself.
static inline void until_asleep(int pid) {
  for (;;) {
    int state = info_of(pid).state;
    if (state == SLEEPING || state == ZOMBIE || state == UNUSED)
      return;
  }
}

static inline uint state_of(struct crypto_op *op) {
  return *(volatile uint *)&op->state;
}

// A request at op: a key of key_size bytes 'k', then data_size bytes 'd'.
static inline void fill(struct crypto_op *op, uint64 key_size, uint64 data_size) {
  op->type = CRYPTO_OP_TYPE_ENCRYPT;
  op->state = CRYPTO_OP_STATE_INIT;
  op->key_size = key_size;
  op->data_size = data_size;
  memset(op->payload, 'k', key_size);
  memset(op->payload + key_size, 'd', data_size);
}

static inline uint64 size_of(struct crypto_op *op) {
  return sizeof(*op) + op->key_size + op->data_size;
}

static inline int all_are(const uchar *p, uint64 n, uchar value) {
  for (uint64 i = 0; i < n; i++)
    if (p[i] != value)
      return 0;
  return 1;
}

// Was the request that fill() made served, and exactly once?
static inline int is_served(struct crypto_op *op) {
  return state_of(op) == CRYPTO_OP_STATE_DONE && all_are(op->payload, op->key_size, 'k') &&
         all_are(op->payload + op->key_size, op->data_size, 'd' ^ 'k');
}

// A request that keeps the server busy for long: its key is too long to be expanded. Queued, not waited for.
static inline struct crypto_op *queue_slow(uint64 data_size) {
  struct crypto_op *op = (struct crypto_op *)sbrk(PAGE + data_size + PAGE);
  fill(op, 2049, data_size);
  CHECK(crypto_op(op, size_of(op)) == 0);
  return op;
}
