// The trace ring as it lies in memory, for the kernel that writes it and everyone who reads it:
// shmtrace, gdb, and the host straight out of guest RAM. Little-endian, naturally aligned, no pointers.
//
// Who may preempt whom: a hart runs no other process in the middle of an emission, so only one hart writes a ring,
// but an interrupt may come between any two instructions of an emitter and emit too. So a slot is taken with one
// amoadd (acquire) on head, filled, and its sequence number stored last (release). A reader copies record n, then reads
// head: the copy is good if its sequence number is n + 1 and head is at most n + capacity. A smaller sequence number
// is a record still being written; a head further on means that the slot has been, or is being, used again.
#pragma once
#include "kernel/types.h"

#define TRACE_MAGIC 0x31474e4952367678UL // "xv6RING1"
#define TRACE_VERSION 1
#define TRACE_ARGS 5

struct trace_record {
  uint64 time;     // the time CSR, ticks of header.frequency
  uint64 sequence; // 1 + number of records this ring took before; stored last
  uint16 event;    // enum trace_event; the first of 8 bytes that emitters store at once
  uint16 hart;
  int pid; // 0 in the scheduler
  uint64 args[TRACE_ARGS];
}; // 64 bytes, one cache line

// Two cache lines before the records: what readers need to know, and what emitters write.
struct trace_ring {
  uint64 magic;       // TRACE_MAGIC
  uint32 version;     // TRACE_VERSION
  uint32 record_size; // sizeof(struct trace_record)
  uint32 capacity;    // records, a power of two; record n is in slot n % capacity
  uint32 hart;
  uint64 frequency;      // of the time CSR, Hz
  uint64 records_offset; // bytes from this header to slot 0
  uint64 mask;           // capacity - 1, for emitters
  uint64 padding[2];
  uint64 head; // records reserved so far
  uint64 padding2[7];
};

// What trace_control() does.
#define TRACE_GET_MASK 0 // -> the mask: bit i is set if event i is recorded
#define TRACE_SET_MASK 1 // value: the new mask; bits of events that do not exist are ignored
#define TRACE_HEAD 2     // value: a hart -> records its ring has taken so far, -1 if there is no such hart
#define TRACE_NOW 3      // -> the time CSR, ticks

// Where a reader stands in one hart's ring; starts as all zeroes, or with position = TRACE_HEAD's answer.
struct trace_cursor {
  uint64 position; // records of the ring before this one have been read or lost
  uint64 lost;     // of these, overwritten before they were read
};

// A saved trace, as shmtrace -w and the host's tools write and read it: TRACE_FILE_MAGIC, then chunks, each a tag, a
// length, and that many bytes, a multiple of 8. Tags: "events", "values" (the tables of kernel/trace_events.h),
// "process" (struct trace_process), "mask" (time and mask, 64 bits each), "records" (struct trace_record, in the order
// of time within a chunk), "lost" (struct trace_loss). A reader skips tags it does not know. A record with sequence 0
// was not emitted: it states what held when the recording began.
#define TRACE_FILE_MAGIC 0x3143525436767858UL // "Xxv6TRC1"

struct trace_chunk {
  char tag[8];   // zero padded
  uint64 length; // bytes that follow
};

// A process that lived at a given time; fills in for forks and execs before the first record.
struct trace_process {
  uint64 time;
  uint64 root; // physical address of its page table, 0 if unknown
  uint64 size; // bytes of user memory
  int pid;
  int parent;
  char name[16];
}; // 48 bytes

struct trace_loss {
  uint64 hart;
  uint64 lost; // records of that hart's ring, within the stretch this trace covers, that are not in it
};
