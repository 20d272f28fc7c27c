// The trace ring as it lies in memory, for the kernel that writes it and everyone who reads it:
// shmtrace, gdb, and the host straight out of guest RAM. Little-endian, naturally aligned, no pointers.
//
// Who may preempt whom: only a hart writes its ring, but an interrupt may come between any two instructions of an
// emitter and emit too. So a slot is taken with one amoadd on head, filled, and its sequence number stored last, after
// fence w,w. A reader copies a record and believes it only if its sequence number was the expected one before and after
// the copy.
#pragma once
#include "kernel/types.h"

#define TRACE_MAGIC 0x31474e4952367678UL // "xv6RING1"
#define TRACE_VERSION 1
#define TRACE_ARGS 5

struct trace_record {
  uint64 time;     // the time CSR, ticks of header.frequency
  uint64 sequence; // 1 + number of records this hart emitted before; 0 while being written
  uint16 event;    // enum trace_event
  uint16 hart;
  int pid; // 0 in the scheduler
  uint64 args[TRACE_ARGS];
}; // 64 bytes, one cache line

// A page of its own before the records.
struct trace_ring {
  uint64 magic;       // TRACE_MAGIC
  uint32 version;     // TRACE_VERSION
  uint32 record_size; // sizeof(struct trace_record)
  uint32 capacity;    // records, a power of two; record n is in slot n % capacity
  uint32 hart;
  uint64 frequency;      // of the time CSR, Hz
  uint64 records_offset; // bytes from this header to slot 0
  uint64 padding[3];
  uint64 head; // records reserved so far; on a cache line of its own
  uint64 padding2[7];
};
