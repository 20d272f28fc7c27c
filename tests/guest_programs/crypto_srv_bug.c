// The crypto server with bugs planted, for the tests of its restart. A key that begins so, and is exactly so long:
//   CRASH  it has done the work but not yet said so, and writes through a null pointer
//   EXIT   the same, and exits with status 7
//   KEEP   it forgets to give the request back, takes the next one, and dies with both
#include "kernel/crypto.h"
#include "kernel/trace_events.h"
#include "kernel/types.h"
#include "user/user.h"

static void misbehave(struct crypto_op *op, uint64 key_size) {
  if (key_size == 5 && memcmp(op->payload, "CRASH", 5) == 0)
    *(volatile int *)0 = 0;
  if (key_size == 4 && memcmp(op->payload, "EXIT", 4) == 0)
    exit(7);
  if (key_size == 4 && memcmp(op->payload, "KEEP", 4) == 0) {
    void *next;
    uint64 size;
    take_shared_memory_request(&next, &size);
    exit(8);
  }
}

#define trace_mark(event, op, state, type, key, data) misbehave((struct crypto_op *)(op), key)
#include "user/crypto_srv.c"
