// The line of requests to the crypto server. A request is a range of its client's memory; it waits in the queue, or
// behind it with its client asleep while the queue is full, then is in service until the server lets go of it.
// Strictly first in, first out. ipc/syscrypt.c is the only user of this but for ipc/server.c.
#pragma once
#include "kernel/param.h"
#include "kernel/spinlock.h"
#include "kernel/trace_events.h"

struct proc;

struct shmem_request {
  int src_pid; // the client; 0: this slot is empty (in shmem_queue.service)
  int dst_pid; // the server
  uint64 src_va;
  uint64 size;         // bytes
  uint64 number;       // counts requests since boot
  struct proc *client; // its slot; another's, perhaps, once the request is cancelled
  int awaited;         // does the client sleep in crypto_wait() for it?
  int superseded;      // the client has asked again at the same address, and will hear of that request only
  int cancelled;       // the client has exited or runs another program: the request means nothing that is still there
};

// A request the server has taken.
struct shmem_service {
  struct shmem_request request;
  uint64 server_va; // where the server sees byte src_va; 0 until it is mapped
};

// A client that sleeps until its request is in the queue; lives on that client's kernel stack.
struct shmem_waiter {
  struct shmem_request request;
  struct shmem_waiter *next;
  enum { IN_LINE, ADMITTED, REFUSED } fate;
};

struct shmem_queue {
  struct spinlock lock; // guards all of this, what it points to, and every proc.crypto
  struct shmem_request requests[NSHMEM_REQS];
  uint read_idx;              // the oldest request in the queue
  uint write_idx;             // where the next one goes
  uint count;                 // requests in the queue: all NSHMEM_REQS slots can be used
  struct shmem_waiter *line;  // clients behind a full queue, oldest first; empty unless count is NSHMEM_REQS
  struct shmem_waiter **tail; // where the next one is linked
  uint in_line;               // their number
  struct shmem_service service[NSHMEM_REQS];
  uint64 next_number;
  uint64 served; // requests the server has given back since boot
  int idle;      // does the server sleep for a request?
  int closed;    // the server is gone for good: nothing is taken in
};

extern struct shmem_queue shmem_queue;

void queue_init(void);
// Lines up [va, va+size) of the caller; sleeps while the queue is full. 0; -1 if closed, or killed before it was in.
int queue_add(uint64 va, uint64 size);
// Sleeps until the caller has no request at va waiting or in service. 0; -1 if the last one it made there was lost,
// told once, or if the caller is killed. Of more than LOST_MAX lost requests that nobody waits for the oldest are
// forgotten.
int queue_wait(uint64 va);
// For exec and exit, in the client's own context, before its memory changes: cancels its requests, forgets the lost.
void queue_cancel(struct proc *p);

// The server's side. The next request, now in service; 0 if the server is killed or has too many in service already.
struct shmem_service *queue_take(void);
struct shmem_service *queue_find(uint64 server_va, uint64 size); // in service there, or 0
void queue_finish(struct shmem_service *s, enum trace_outcome outcome);
int queue_cancelled(struct shmem_service *s);
struct proc *queue_client(struct shmem_service *s); // pinned; 0 if the request is cancelled
// Ends a request without an answer from the server: its client's crypto_wait() gives -1, and if the request still says
// INIT it says ERROR from now on, for clients that poll. No lock held.
void queue_lose(struct shmem_service *s, enum trace_outcome outcome);
// The server is dead: loses all that is in service, and if it stays dead, all that waits too.
void queue_server_died(int for_good);
