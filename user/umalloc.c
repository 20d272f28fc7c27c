// malloc() and free(): free blocks in bins by power of two, joined with their free neighbours at once.
//
// The heap is a list of runs in no way assumed to adjoin: memory mapped at the top of a process between two calls of
// sbrk() leaves a gap. Each run ends in a fence, a header that is never free, so joining cannot cross a gap; if sbrk()
// continues the newest run, the fence becomes part of the next block.
#include "kernel/types.h"
#include "kernel/riscv.h"
#include "user/user.h"

#define UNIT 16             // sizes and addresses of blocks are multiples of it
#define GROWTH (4 * PGSIZE) // what is asked of the kernel at once, if it has that much
#define BINS 33             // blocks of 2^n to 2^(n+1)-1 bytes in bin n; the largest request has 2^32 bytes
#define USED 1UL

struct block {
  uint64 size;   // bytes to the next header; bit 0 set while USED
  uint64 before; // size of the block just below, 0 for the first of a run
  // Here begins the caller's memory. While the block is free:
  struct block *next, *prev; // others in its bin
};

#define HEADER (2 * sizeof(uint64))

static struct block *bins[BINS];
static struct block *fence; // of the newest run

static uint64 round_up(uint64 n, uint64 unit) {
  return (n + unit - 1) / unit * unit;
}

static struct block *at(struct block *b, long distance) {
  return (struct block *)((char *)b + distance);
}

static int is_used(const struct block *b) {
  return b->size & USED;
}

static int bin_of(uint64 size) {
  int n = 0;
  while (size >>= 1)
    n++;
  return n < BINS ? n : BINS - 1;
}

static void put(struct block *b) {
  struct block **bin = &bins[bin_of(b->size)];

  b->prev = 0;
  b->next = *bin;
  if (b->next)
    b->next->prev = b;
  *bin = b;
}

static void take(struct block *b) {
  if (b->next)
    b->next->prev = b->prev;
  if (b->prev)
    b->prev->next = b->next;
  else
    bins[bin_of(b->size)] = b->next;
}

static void set_size(struct block *b, uint64 size) {
  b->size = size;
  at(b, size)->before = size;
}

// Makes the block at b free and part of one free block with its free neighbours.
static void release(struct block *b) {
  uint64 size = b->size & ~USED;
  struct block *above = at(b, size);

  if (!is_used(above)) {
    take(above);
    size += above->size;
  }
  if (b->before && !is_used(at(b, -b->before))) {
    b = at(b, -b->before);
    take(b);
    size += b->size;
  }
  set_size(b, size);
  put(b);
}

// A free block of at least size bytes out of its bin, or 0.
static struct block *find(uint64 size) {
  for (int bin = bin_of(size); bin < BINS; bin++)
    for (struct block *b = bins[bin]; b; b = b->next)
      if (b->size >= size) {
        take(b);
        return b;
      }
  return 0;
}

// Adds memory for a block of size bytes; 0, or -1 when the kernel has none.
static int grow(uint64 size) {
  uint64 least = round_up(size + HEADER + UNIT, PGSIZE), n = round_up(least, GROWTH);
  if (n > 0x7fffffff) // sbrk() takes an int
    return -1;
  char *start = sbrk(n);
  if (start == SBRK_ERROR)
    start = sbrk(n = least);
  if (start == SBRK_ERROR)
    return -1;

  struct block *first = (struct block *)round_up((uint64)start, UNIT);
  char *end = (char *)((uint64)(start + n) / UNIT * UNIT);
  if (fence && at(fence, HEADER) == first)
    first = fence; // its before is still right
  else
    first->before = 0;
  fence = (struct block *)(end - HEADER);
  fence->size = HEADER | USED;
  set_size(first, (char *)fence - (char *)first);
  release(first);
  return 0;
}

void *malloc(uint n) {
  uint64 size = round_up(n + HEADER, UNIT);
  struct block *b;

  if (size < sizeof(struct block))
    size = sizeof(struct block);
  while ((b = find(size)) == 0)
    if (grow(size) < 0)
      return 0;
  if (b->size - size >= sizeof(struct block)) {
    struct block *rest = at(b, size);
    set_size(rest, b->size - size);
    put(rest);
    set_size(b, size);
  }
  b->size |= USED;
  return &b->next;
}

// A pointer that malloc() did not give, or that was freed before, is reported and ignored.
void free(void *p) {
  if (p == 0)
    return;
  struct block *b = at(p, -(long)HEADER);
  if ((uint64)p % UNIT || !is_used(b) || at(b, b->size & ~USED)->before != (b->size & ~USED)) {
    fprintf(2, "free: %p is not an allocated block, or its header is overwritten\n", p);
    return;
  }
  release(b);
}
