// Debug builds can let an allocation fail on purpose, for the processes that ask for it and their children, and for
// the crypto server that works for them; other builds have none of this. Each place that may run out of something asks
// fail_here() once. Programs steer it through the device FAILPOINT (lib/failpoint.c says how).
#pragma once
#include "kernel/types.h"

#define FAILPOINT 7 // major number of the device, in debug builds

// What may fail: name and what the place does then.
#define FAIL_KINDS(X)                                                                                                  \
  X(frame)   /* no frame is free */                                                                                    \
  X(buffer)  /* every buffer is in use: who needs one looks again */                                                   \
  X(file)    /* the table of open files is full */                                                                     \
  X(inode)   /* no slot in memory, or no inode on disk */                                                              \
  X(block)   /* the disk is full */                                                                                    \
  X(process) /* the process table is full */                                                                           \
  X(log)     /* the log is full: a checkpoint comes first */                                                           \
  X(read)    /* the disk reports that it could not read */                                                             \
  X(write)   /* the disk reports that it could not write */

enum fail_kind {
#define X(name) FAIL_##name,
  FAIL_KINDS(X)
#undef X
      FAIL_KIND_COUNT
};

struct proc;

#ifdef DEBUG
void failpoint_init(void);
int fail_here(enum fail_kind kind);                         // 1: do as if there were none. Any context, any locks
void fail_inherit(struct proc *parent, struct proc *child); // a fork
void fail_call_begins(uint64 number);                       // the caller is in a system call from here on,
void fail_call_ends(uint64 result);                         // to here
#else
static inline void failpoint_init(void) {}
static inline int fail_here(enum fail_kind kind) {
  (void)kind;
  return 0;
}
static inline void fail_inherit(struct proc *parent, struct proc *child) {
  (void)parent, (void)child;
}
static inline void fail_call_begins(uint64 number) {
  (void)number;
}
static inline void fail_call_ends(uint64 result) {
  (void)result;
}
#endif
