// The one table of trace events. From it come the TRACE_ constants and the argument counts trace() checks, the text
// in the kernel image that host tools read out of the ELF file, and what shmtrace prints. Relies on the tables of
// system calls, lock classes and crypto states for the names of values.
//
// An argument is "name:kind". Kinds:
//   n       a count               bytes   a size               pid     a process
//   int     a signed number       hex     any 64 bits          ticks   a time span, of the time CSR
//   va      user address          frame   physical address     symbol  kernel address, shown by name
//   pte     page-table entry bits text    characters: this and all further slots, zero padded; always last
// and the names of value sets in TRACE_VALUES below.
#pragma once
#include "kernel/syscall.h"
#include "kernel/proc/lock_ranks.h"

#define TRACE_USER 1 // flag: a program may emit it through trace_mark(); every other event is the kernel's word
#define TRACE_BOOT 2 // flag: on from power-on; the others cost time in the hot paths and are switched on when wanted

// STATE comes from whoever writes op->state, just before the store, so that whatever the store causes comes later: the
// client for INIT, the server for DONE or ERROR. The server also says INIT once it has accepted a header and begins.

// id (also the bit in the mask, below 63), constant, name, category, flags, number of arguments, the arguments
#define TRACE_EVENTS(X)                                                                                                \
  X(0, ENQUEUE, "enqueue", "shm", TRACE_BOOT, 4, "request:n va:va size:bytes waiting:n")                               \
  X(1, DEQUEUE, "dequeue", "shm", TRACE_BOOT, 5, "request:n client:pid va:va size:bytes waiting:n")                    \
  X(2, MAP, "map", "shm", TRACE_BOOT, 5, "src:pid dst:pid from:va to:va size:bytes")                                   \
  X(3, STATE, "state", "shm", TRACE_BOOT | TRACE_USER, 5, "op:va state:op_state type:op_type key:bytes data:bytes")    \
  X(4, UNMAP, "unmap", "shm", TRACE_BOOT, 3, "target:pid va:va size:bytes")                                            \
  X(5, COMPLETE, "complete", "shm", TRACE_BOOT, 3, "request:n client:pid outcome:outcome")                             \
  X(6, SERVER_START, "server_start", "server", TRACE_BOOT, 2, "server:pid earlier:n")                                  \
  X(7, SERVER_DEATH, "server_death", "server", TRACE_BOOT, 3, "server:pid status:int waiting:n")                       \
  X(8, FORK, "fork", "proc", TRACE_BOOT, 2, "child:pid root:frame")                                                    \
  X(9, EXEC, "exec", "proc", TRACE_BOOT, 3, "root:frame name:text")                                                    \
  X(10, EXIT, "exit", "proc", TRACE_BOOT, 1, "status:int")                                                             \
  X(11, WAIT, "wait", "proc", TRACE_BOOT, 2, "child:pid status:int")                                                   \
  X(12, KILL, "kill", "proc", TRACE_BOOT, 1, "target:pid")                                                             \
  X(13, SLEEP, "sleep", "sched", 0, 1, "chan:symbol")                                                                  \
  X(14, WAKEUP, "wakeup", "sched", 0, 3, "woken:pid chan:symbol on:n")                                                 \
  X(15, SWITCH, "switch", "sched", 0, 3, "previous:pid state:proc_state next:pid")                                     \
  X(16, SYS_ENTER, "sys_enter", "sys", 0, 5, "call:syscall a0:hex a1:hex a2:hex a3:hex")                               \
  X(17, SYS_EXIT, "sys_exit", "sys", 0, 2, "call:syscall result:int")                                                  \
  X(18, FAULT, "fault", "mem", TRACE_BOOT, 3, "va:va cause:cause pc:va")                                               \
  X(19, RESIZE, "resize", "mem", 0, 3, "target:pid old:bytes new:bytes")                                               \
  X(20, PTE_SET, "pte_set", "mem", 0, 4, "root:frame va:va frame:frame bits:pte")                                      \
  X(21, PTE_CLEAR, "pte_clear", "mem", 0, 3, "root:frame va:va frame:frame")                                           \
  X(22, ALLOC, "alloc", "frame", 0, 3, "frame:frame free:n caller:symbol")                                             \
  X(23, REF, "ref", "frame", 0, 2, "frame:frame count:n")                                                              \
  X(24, UNREF, "unref", "frame", 0, 2, "frame:frame count:n")                                                          \
  X(25, FREE, "free", "frame", 0, 2, "frame:frame free:n")                                                             \
  X(26, CONTEND, "contend", "lock", 0, 4, "lock:symbol class:lock waited:ticks caller:symbol")                         \
  X(27, NOTE, "note", "user", TRACE_BOOT | TRACE_USER, 5, "text:text")                                                 \
  X(28, MASK, "mask", "trace", TRACE_BOOT, 2, "old:hex new:hex")

enum trace_event {
#define X(id, constant, name, category, flags, count, arguments) TRACE_##constant = id,
  TRACE_EVENTS(X)
#undef X
      TRACE_EVENT_COUNT
};

// How many slots of the record trace() fills for each event.
enum trace_argument_count {
#define X(id, constant, name, category, flags, count, arguments) TRACE_##constant##_ARGS = count,
  TRACE_EVENTS(X)
#undef X
};

// What became of a request (TRACE_COMPLETE).
enum trace_outcome { OUTCOME_SERVED = 1, OUTCOME_LOST = 2, OUTCOME_SKIPPED = 3, OUTCOME_REFUSED = 4 };

// Value sets: set, value, name. DONE and ERROR of op_state end a request.
// clang-format off
#define TRACE_VALUES(V)                                                                                                \
  V("op_state", 1, "INIT") V("op_state", 2, "DONE") V("op_state", 3, "ERROR")                                          \
  V("op_type", 1, "ENCRYPT") V("op_type", 2, "DECRYPT")                                                                \
  V("outcome", OUTCOME_SERVED, "served") V("outcome", OUTCOME_LOST, "lost with its server")                            \
  V("outcome", OUTCOME_SKIPPED, "skipped, its client died")                                                            \
  V("outcome", OUTCOME_REFUSED, "refused, it can't be mapped")                                                         \
  V("proc_state", 0, "unused") V("proc_state", 1, "used") V("proc_state", 2, "sleeping")                               \
  V("proc_state", 3, "runnable") V("proc_state", 4, "running") V("proc_state", 5, "zombie")                            \
  V("cause", 0, "misaligned fetch") V("cause", 1, "fetch access") V("cause", 2, "illegal instruction")                 \
  V("cause", 3, "breakpoint") V("cause", 4, "misaligned load") V("cause", 5, "load access")                            \
  V("cause", 6, "misaligned store") V("cause", 7, "store access") V("cause", 12, "fetch page")                         \
  V("cause", 13, "load page") V("cause", 15, "store page")
// clang-format on

// The tables above as text, the same bytes in the kernel image, in shmtrace and in a saved trace. No pointers.
struct trace_event_info {
  unsigned short id;
  unsigned short flags; // TRACE_USER, TRACE_BOOT
  unsigned short count; // slots
  char name[18];
  char category[8];
  char arguments[96];
}; // 128 bytes

struct trace_value_info {
  char set[12];
  unsigned int value;
  char name[32];
}; // 48 bytes

#define TRACE_EVENT_TABLE                                                                                              \
  { TRACE_EVENTS(TRACE_EVENT_ROW) }
#define TRACE_EVENT_ROW(id, constant, name, category, flags, count, arguments)                                         \
  {id, flags, count, name, category, arguments},

#define TRACE_VALUE_TABLE                                                                                              \
  { TRACE_VALUES(TRACE_VALUE_ROW) SYSCALLS(TRACE_SYSCALL_ROW) LOCK_RANKS(TRACE_LOCK_ROW) }
#define TRACE_VALUE_ROW(set, value, name) {set, value, name},
#define TRACE_SYSCALL_ROW(number, name) {"syscall", number, #name},
#define TRACE_LOCK_ROW(rank, name, guards) {"lock", rank, name},
