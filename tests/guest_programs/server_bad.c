// Requests the server must refuse without harm, and ranges the kernel must not even queue. After each the server is
// as large as before, and at the end it still serves.
#include "tests/guest_programs/check.h"

#define ROOM (3 * PAGE)

static uchar *area; // ROOM writable bytes, page-aligned
static const uint64 all = -1UL;

static const struct bad {
  const char *name;
  uint type, state;
  uint64 key_size, data_size;
  uint64 size; // of the range; 0: what the header says
} bad[] = {
    {"unknown type 0", 0, 1, 4, 8, 0},
    {"unknown type 3", 3, 1, 4, 8, 0},
    {"huge type", 0x80000001, 1, 4, 8, 0},
    {"state 0", 1, 0, 4, 8, 0},
    {"state DONE", 1, 2, 4, 8, 0},
    {"state ERROR", 1, 3, 4, 8, 0},
    {"state 77", 1, 77, 4, 8, 0},
    {"key_size 0", 1, 1, 0, 8, 0},
    {"key_size 0 and nothing else", 2, 1, 0, 0, 0},
    {"data exceed by a byte", 1, 1, 4, 9, sizeof(struct crypto_op) + 12},
    {"key exceeds by a byte", 1, 1, 13, 0, sizeof(struct crypto_op) + 12},
    {"data exceed within the page", 1, 1, 4, 1000, sizeof(struct crypto_op) + 12},
    {"data exceed the page", 1, 1, 4, 2 * PAGE, sizeof(struct crypto_op) + 12},
    {"data_size overflows", 1, 1, 4, all, ROOM},
    {"data_size overflows to a fit", 1, 1, 8, all - 7, ROOM},
    {"key_size overflows", 1, 1, all, 8, ROOM},
    {"key_size overflows to a fit", 1, 1, all - 7, 16, ROOM},
    {"both are half of all", 1, 1, 1UL << 63, 1UL << 63, ROOM},
    {"sum with the header wraps", 1, 1, 1, all - sizeof(struct crypto_op), ROOM},
    {"header cut at 8", 1, 1, 4, 8, 8},
    {"header cut at 12", 1, 1, 4, 8, 12},
    {"header cut at 16", 1, 1, 4, 8, 16},
    {"header cut at 23", 1, 1, 4, 8, 23},
    {"header only, key_size 1", 1, 1, 1, 0, sizeof(struct crypto_op)},
};

// At offset in the area, so that ranges lie within a page, end at its edge, and cross it.
static void ask(const struct bad *b, uint64 offset) {
  struct crypto_op *op = (struct crypto_op *)(area + offset);
  memset(area, 'x', 2 * ROOM);
  op->type = b->type;
  op->state = b->state;
  op->key_size = b->key_size;
  op->data_size = b->data_size;
  uint64 size = b->size ? b->size : sizeof(*op) + b->key_size + b->data_size, server = info_of(CRYPTO_SRV_PID).size;
  int failed = failures;
  CHECK(crypto_op(op, size) == 0);
  CHECK(crypto_wait(op) == 0);
  CHECK(state_of(op) == CRYPTO_OP_STATE_ERROR);
  CHECK(op->type == b->type && op->key_size == b->key_size && op->data_size == b->data_size);
  CHECK(all_are(area, offset, 'x') && all_are(op->payload, area + 2 * ROOM - op->payload, 'x'));
  CHECK(info_of(CRYPTO_SRV_PID).size == server);
  if (failures != failed)
    printf("  for: %s, at offset %lu\n", b->name, offset);
}

static void refused(uint64 va, uint64 size) {
  if (crypto_op((struct crypto_op *)va, size) != -1) {
    failures++;
    printf("FAILED: crypto_op(%lx, %lx) is taken\n", va, size);
  }
}

// Ranges that are not the caller's to write.
static void ask_for_what_is_not_ours(void) {
  uint64 a = (uint64)area, end = (uint64)sbrk(0), kernel = 0xffffffc080000000UL;
  for (uint64 size = 0; size < 8; size++)
    refused(a, size); // no room for a state word
  for (int i = 1; i < 8; i++)
    refused(a + i, 64);
  refused(0, 64); // text
  refused(end, 64);
  refused(end + PAGE, 64);
  refused(end - PAGE, 2 * PAGE);
  refused(a, end - a + 1 + PAGE);
  refused(kernel, 64);
  refused(all & ~7UL, 64);
  refused(1UL << 38, 64);
  refused((1UL << 38) - PAGE, PAGE);
  refused(1UL << 63, 64);
  refused(a, 1UL << 30);
}

int main(void) {
  area = (uchar *)(((uint64)sbrk(2 * ROOM + PAGE) + PAGE - 1) & ~(PAGE - 1));
  const uint64 offsets[] = {0, 40, PAGE - 8, PAGE - 24};
  crypto_wait((struct crypto_op *)area);
  uint64 frames = 0;
  for (int round = 0; round < 2; round++) { // what the first round allocates, the second has
    for (uint i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
      for (uint j = 0; j < sizeof(offsets) / sizeof(offsets[0]); j++)
        ask(&bad[i], offsets[j]);
    ask_for_what_is_not_ours();
    if (round == 0)
      frames = free_frames();
  }
  CHECK(free_frames() == frames);
  struct crypto_op *op = (struct crypto_op *)area;
  fill(op, 5, 100);
  CHECK(crypto_op(op, size_of(op)) == 0 && crypto_wait(op) == 0 && is_served(op));
  return report();
}
