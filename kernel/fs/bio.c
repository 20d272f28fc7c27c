// The buffer cache: a hash of block numbers, and a clock hand that finds the buffer to use again.
// Its size comes from the memory at boot. When every buffer is in use, who needs one more waits.
#include "kernel/fs/buf.h"
#include "kernel/boot/boot.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/lib/failpoint.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/proc.h"

#define BUCKETS 4096     // a power of two
#ifndef MIN_BUFFERS      // tests make it small
#define MIN_BUFFERS 1024 // what all processes and the log can hold at once, and some to spare
#endif
#define MEMORY_SHARE 32 // the cache takes this part of memory, if that is more
#define NO_BLOCK (~0u)

static struct {
  struct spinlock lock; // guards the fields below, and those of every buffer that say so
  struct buf *bucket[BUCKETS];
  struct buf *buf; // all of them; constant
  uint count;      // how many; constant
  uint hand;       // the next candidate for reuse
  int waiting;     // processes that found none free; atomic
} bcache;

static struct buf **bucket_of(uint block) {
  return &bcache.bucket[block % BUCKETS];
}

void binit(void) {
  initlock(&bcache.lock, RANK_BUFFER_CACHE);
  bcache.count = (machine.memory_end - KERNBASE) / MEMORY_SHARE / BSIZE;
  if (bcache.count < MIN_BUFFERS)
    bcache.count = MIN_BUFFERS;
  bcache.buf = boot_alloc(bcache.count * sizeof(struct buf));
  uchar *data = boot_alloc((uint64)bcache.count * BSIZE);
  for (uint i = 0; i < bcache.count; i++) {
    bcache.buf[i].data = data + (uint64)i * BSIZE;
    bcache.buf[i].block = NO_BLOCK;
  }
}

// Notes that a transfer into b has ended; the lock is held. A transfer still under way stays so.
static void settle(struct buf *b) {
  if (b->state == BUF_LOADING && !__atomic_load_n(&b->io.pending, __ATOMIC_ACQUIRE))
    b->state = b->io.failed ? BUF_BLANK : BUF_VALID;
}

// Takes the unreferenced buffer that was not used for longest, roughly: the hand passes over a recently used one once.
// Called and returns with the lock; 0 if all are in use.
static struct buf *evict(void) {
  if (fail_here(FAIL_buffer))
    return 0;
  for (uint steps = 0; steps < 2 * bcache.count; steps++) {
    struct buf *b = &bcache.buf[bcache.hand];
    bcache.hand = bcache.hand + 1 < bcache.count ? bcache.hand + 1 : 0;
    settle(b);
    if (__atomic_load_n(&b->refs, __ATOMIC_SEQ_CST) || b->state == BUF_LOADING)
      continue;
    if (b->recent) {
      b->recent = 0;
      continue;
    }
    for (struct buf **p = bucket_of(b->block); *p; p = &(*p)->hash_next)
      if (*p == b) {
        *p = b->hash_next;
        break;
      }
    return b;
  }
  return 0;
}

static struct buf *lookup(uint block) {
  struct buf *b = *bucket_of(block);
  while (b && b->block != block)
    b = b->hash_next;
  return b;
}

static void take(struct buf *b) {
  __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);
  b->recent = 1;
}

// The block's buffer with one more reference, whatever its state. Called and returns with the lock, which it gives up
// while it waits for a buffer.
static struct buf *get(uint block) {
  struct buf *b;
  int waiting = 0;
  while (!(b = lookup(block)) && !(b = evict())) {
    if (waiting)
      sleep(&bcache, &bcache.lock);
    else // look once more after this: who let go of a buffer before it did not wake us
      __atomic_fetch_add(&bcache.waiting, waiting = 1, __ATOMIC_SEQ_CST);
  }
  if (waiting)
    __atomic_fetch_sub(&bcache.waiting, 1, __ATOMIC_SEQ_CST);
  if (b->block != block) {
    b->block = block;
    b->state = BUF_BLANK;
    b->hash_next = *bucket_of(block);
    *bucket_of(block) = b;
  }
  take(b);
  return b;
}

// Marks a blank buffer as being read; the lock is held. The caller then starts the transfer without it.
static void claim(struct buf *b) {
  b->state = BUF_LOADING;
  disk_expect(&b->io);
}

struct buf *bread_cached(uint block) {
  acquire(&bcache.lock);
  struct buf *b = lookup(block);
  if (b)
    settle(b);
  if (b && b->state == BUF_VALID) {
    take(b);
  } else {
    b = 0;
  }
  release(&bcache.lock);
  return b;
}

struct buf *bread(uint block) {
  if (block >= disk_blocks())
    return 0;
  acquire(&bcache.lock);
  struct buf *b = get(block);
  settle(b);
  for (int tried = 0; b->state != BUF_VALID; settle(b)) {
    int start = b->state == BUF_BLANK;
    if (start && tried++)
      break;
    if (start)
      claim(b);
    release(&bcache.lock);
    if (start)
      disk_start(&b->io, DISK_READ, block, &b, 1);
    disk_wait(&b->io);
    acquire(&bcache.lock);
  }
  int valid = b->state == BUF_VALID;
  release(&bcache.lock);
  if (valid)
    return b;
  brelse(b);
  return 0;
}

struct buf *bfresh(uint block) {
  if (block >= disk_blocks())
    return 0;
  acquire(&bcache.lock);
  struct buf *b = get(block);
  for (settle(b); b->state == BUF_LOADING; settle(b)) { // read ahead of its last owner: let it end before we write
    release(&bcache.lock);
    disk_wait(&b->io);
    acquire(&bcache.lock);
  }
  b->state = BUF_VALID;
  release(&bcache.lock);
  return b;
}

void bprefetch(uint block) {
  if (block >= disk_blocks())
    return;
  acquire(&bcache.lock);
  struct buf *b = get(block);
  int start = b->state == BUF_BLANK;
  if (start)
    claim(b);
  release(&bcache.lock);
  if (start)
    disk_start(&b->io, DISK_READ, block, &b, 1);
  brelse(b);
}

void bhold(struct buf *b) {
  __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);
}

void brelse(struct buf *b) {
  int left = __atomic_sub_fetch(&b->refs, 1, __ATOMIC_SEQ_CST);
  if (left < 0)
    panic("brelse: block %u is not in use", b->block);
  if (left == 0 && __atomic_load_n(&bcache.waiting, __ATOMIC_SEQ_CST)) {
    acquire(&bcache.lock);
    wakeup(&bcache);
    release(&bcache.lock);
  }
}
