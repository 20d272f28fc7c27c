// The disk on the host: an image in memory. Transfers that are under way together end in any order.
// The trace file holds, for each event, two 32-bit words and what follows them:
//   1 BLOCK   BSIZE bytes: a block written
//   2 0       a flush
//   3 OP      32-bit synced, 64-bit state: operation OP has returned; the tree then hashes to state, and if synced is 1
//             it must survive a power cut from now on
#include "kernel/dev/virtio.h"
#include "kernel/fs/buf.h"
#include "kernel/proc/lock.h"
#include "tests/fs_host/shim.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_TRANSFERS 4096

struct transfer {
  struct disk_wait *wait;
  enum disk_op op;
  uint block, n;
  struct buf *bufs[DISK_SEGMENTS];
};

static struct spinlock lock; // guards all of this
static struct transfer transfers[MAX_TRANSFERS];
static uint count;
static uchar *image;
static uint blocks;
static uint bad_block;
static FILE *trace;

void shim_init(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END) != 0) {
    perror(path);
    exit(2);
  }
  blocks = ftell(file) / BSIZE;
  rewind(file);
  image = calloc(blocks + 1, BSIZE);
  if (fread(image, BSIZE, blocks, file) != blocks) {
    perror(path);
    exit(2);
  }
  fclose(file);
  if (mmap((void *)ARENA, ARENA_BAD - ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
           -1, 0) != (void *)ARENA)
    die("no room for user memory");
  initlock(&lock, RANK_DISK);
}

void shim_write_back(const char *path) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(image, BSIZE, blocks, file) != blocks || fclose(file) != 0) {
    perror(path);
    exit(2);
  }
}

void shim_trace(const char *path) {
  trace = fopen(path, "wb");
  if (!trace) {
    perror(path);
    exit(2);
  }
}

static void note(uint kind, uint value, const void *more, uint bytes) {
  uint head[2] = {kind, value};
  if (trace && (fwrite(head, sizeof head, 1, trace) != 1 || (bytes && fwrite(more, bytes, 1, trace) != 1)))
    die("the trace can't be written");
}

void shim_mark(uint op, uint synced, uint64 state) {
  uint more[3] = {synced, (uint)state, state >> 32};
  note(3, op, more, sizeof more);
}

void shim_fail_block(uint block) {
  bad_block = block;
}

static uint writes;        // blocks written and flushes so far
static uint failing_write; // which of them fails, counted from 1; 0: none

void shim_fail_write(uint n) {
  failing_write = n;
}

uint shim_writes(void) {
  return writes;
}

uint64 disk_blocks(void) {
  return blocks;
}

static void move_block(struct transfer *t, uint i) {
  uint block = t->block + i;
  if (block >= blocks)
    die("transfer of block %u", block);
  if (t->op == DISK_READ) {
    memcpy(t->bufs[i]->data, image + (uint64)block * BSIZE, BSIZE);
    if (block == bad_block)
      t->wait->failed = 1;
  } else if (++writes == failing_write && random_below(2)) {
    t->wait->failed = 1; // and nothing got there
  } else {
    t->wait->failed |= writes == failing_write; // so it says
    memcpy(image + (uint64)block * BSIZE, t->bufs[i]->data, BSIZE);
    note(1, block, t->bufs[i]->data, BSIZE);
  }
}

// Does one of the transfers under way.
static void advance(void) {
  struct transfer *t = &transfers[random_below(count)];
  uint start = random_below(t->n); // nor do the blocks of one get there in order
  for (uint i = 0; i < t->n; i++)
    move_block(t, (start + i) % t->n);
  struct disk_wait *w = t->wait;
  *t = transfers[--count];
  __atomic_sub_fetch(&w->pending, 1, __ATOMIC_RELEASE);
}

void disk_expect(struct disk_wait *w) {
  acquire(&lock);
  if (w->pending++ == 0)
    w->failed = 0;
  release(&lock);
}

void disk_start(struct disk_wait *w, enum disk_op op, uint block, struct buf *const bufs[], uint n) {
  acquire(&lock);
  while (count == MAX_TRANSFERS)
    advance();
  struct transfer *t = &transfers[count++];
  *t = (struct transfer){w, op, block, n, {0}};
  memcpy(t->bufs, bufs, n * sizeof *bufs);
  release(&lock);
}

int disk_wait(struct disk_wait *w) {
  acquire(&lock);
  while (w->pending) {
    if (count > 0) // else another process expects a transfer that it has not started yet
      advance();
    release(&lock);
    if (shim_threads)
      sched_yield();
    acquire(&lock);
  }
  int failed = w->failed;
  release(&lock);
  return failed ? -1 : 0;
}

int disk_flush(void) {
  acquire(&lock);
  int failed = ++writes == failing_write;
  if (!failed)
    note(2, 0, 0, 0);
  release(&lock);
  return failed ? -1 : 0;
}
