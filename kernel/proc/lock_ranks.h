// The one table of lock classes, outermost first: rank, the name reports print, and what the lock guards.
// A hart may take a lock only if every lock it holds stands earlier; two of one class in ascending address.
// docs/locks.md and the debug build's order check (proc/spinlock.c) come from this table.
#pragma once

#define LOCK_RANKS(X)                                                                                                  \
  X(RANK_TREE, "tree",                                                                                                 \
    "parent and child links, exit status, which pids exist; holders keep a process from being freed")                  \
  X(RANK_QUEUE, "shmem_queue", "the crypto requests, waiting and in service")                                          \
  X(RANK_PIPE, "pipe", "one pipe's buffer and ends")                                                                   \
  X(RANK_CONSOLE, "console", "the line being edited and the lines not yet read")                                       \
  X(RANK_FILE_TABLE, "ftable", "reference counts of open files")                                                       \
  X(RANK_LOG, "log", "the transaction: its blocks, how many operations are in it")                                     \
  X(RANK_INODE_CACHE, "itable", "which inode is cached where, and the reference counts")                               \
  X(RANK_BUFFER_CACHE, "bcache", "which block is cached where, and the reference counts")                              \
  X(RANK_DISK, "virtio_disk", "the virtqueue and its free descriptors")                                                \
  X(RANK_UART, "uart", "writers that wait for room to send")                                                           \
  X(RANK_SLEEPLOCK, "sleeplock", "a sleep lock's own state, not what that lock guards")                                \
  X(RANK_TIMER, "timer", "processes sleeping until a tick")                                                            \
  X(RANK_PROC, "proc", "a slot's life: its pid, and whether it is free")                                               \
  X(RANK_SLEEPERS, "sleepers", "one bucket of sleeping processes, their state and channel")                            \
  X(RANK_RUN_QUEUE, "runq", "one hart's runnable processes")                                                           \
  X(RANK_MEMORY, "memory", "one process's page table and sz")                                                          \
  X(RANK_FRAMES, "kmem", "the list of free frames")                                                                    \
  X(RANK_PRINT, "print", "the characters to send and the uart itself")

enum lock_rank {
#define X(rank, name, guards) rank,
  LOCK_RANKS(X)
#undef X
      LOCK_RANK_COUNT
};
