// What the benchmark programs share: marks for the instruction counter, and how they fail. Each runs as /init of an
// image made for it, so nobody types and every run is the same.
// Relies on xv6's user.h alone, but for what BENCH_SHARE (the sharing calls) and BENCH_GLASS (ours) bring.
#pragma once
#include "kernel/types.h"
#include "kernel/stat.h"
#include "kernel/fcntl.h"
#include "user/user.h"
#ifdef BENCH_GLASS
#include "kernel/crypto.h"
#include "kernel/trace.h"
#include "kernel/trace_events.h"
#endif

#define PAGE 4096

// Marks: instructions that do nothing (hints for custom use, unprivileged specification 2.9), seen by the counter.
#define MARK_START(id) asm volatile("slti zero, zero, %0" ::"i"(id) : "memory")
#define MARK_STOP(id) asm volatile("sltiu zero, zero, %0" ::"i"(id) : "memory")

static char buffer[PAGE];

static inline void fail(const char *what) {
  printf("bench: failed: %s\n", what);
  while (getpid() == 1)
    sleep(1000);
  exit(1);
}

static inline void fork_exit(void) {
  int pid = fork();
  if (pid == 0)
    exit(0);
  if (pid < 0 || wait(0) != pid)
    fail("fork");
}

static inline int open_or_fail(const char *path, int mode) {
  int fd = open(path, mode);
  if (fd < 0)
    fail(path);
  return fd;
}

#ifdef BENCH_SHARE
static inline void share_once(int owner, int me, char *area, int pages) {
  uint64 va = map_shared_pages(owner, me, (uint64)area, pages * PAGE);
  if (va == (uint64)-1 || va == 0 || unmap_shared_pages(me, va, pages * PAGE) < 0)
    fail("share");
}

#endif

#ifdef BENCH_GLASS
static inline void request(struct crypto_op *op, uint64 data_size) {
  op->type = CRYPTO_OP_TYPE_ENCRYPT;
  op->state = CRYPTO_OP_STATE_INIT;
  op->key_size = 6;
  op->data_size = data_size;
  if (crypto_op(op, sizeof(*op) + op->key_size + data_size) < 0 || crypto_wait(op) < 0 ||
      op->state != CRYPTO_OP_STATE_DONE)
    fail("crypto");
}
#endif

// Process 1 has no files open yet.
static inline void open_console(void) {
  if (open("console", O_RDWR) < 0) {
    mknod("console", 1, 0);
    open("console", O_RDWR);
  }
  dup(0);
  dup(0);
}

// Process 1 may not exit, and whoever counts has seen enough.
static inline int done(void) {
  printf("bench: done\n");
  while (getpid() == 1)
    sleep(1000);
  return 0;
}
