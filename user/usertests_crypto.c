// usertests: the crypto server as its clients see it: right answers, refused requests, clients that die.
#include "user/usertests.h"
#include "kernel/crypto.h"

#define KEY "OS2024"
#define KEY_SIZE 6

// A request in memory of its own, so that it is mapped without the rest of the heap.
static struct crypto_op *new_request(uint64 data_size) {
  struct crypto_op *op = (struct crypto_op *)PGROUNDUP(sbrk(sizeof(*op) + KEY_SIZE + data_size + 2 * PAGE));
  memset(op, 0, sizeof(*op) + KEY_SIZE + data_size);
  op->type = CRYPTO_OP_TYPE_ENCRYPT;
  op->state = CRYPTO_OP_STATE_INIT;
  op->key_size = KEY_SIZE;
  op->data_size = data_size;
  memmove(op->payload, KEY, KEY_SIZE);
  return op;
}

static int request_size(struct crypto_op *op) {
  return sizeof(*op) + op->key_size + op->data_size;
}

static int state_of(struct crypto_op *op) {
  return *(volatile int *)&op->state;
}

// Sends the first size bytes and waits for the answer.
static void serve(struct crypto_op *op, int size) {
  WANT(crypto_op(op, size), 0);
  WANT(crypto_wait(op), 0);
}

static void crypto_round_trip(void) {
  static const int sizes[] = {0, 1, 7, 8, 63, 64, 4000, 4096, 20000};
  for (uint i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    struct crypto_op *op = new_request(sizes[i]);
    uchar *data = op->payload + KEY_SIZE;
    fill(data, sizes[i], i);
    serve(op, request_size(op));
    WANT(state_of(op), CRYPTO_OP_STATE_DONE);
    for (int j = 0; j < sizes[i]; j++)
      data[j] ^= KEY[j % KEY_SIZE];
    WANT(differs(data, sizes[i], i), -1);
    for (int j = 0; j < sizes[i]; j++)
      data[j] ^= KEY[j % KEY_SIZE];
    op->type = CRYPTO_OP_TYPE_DECRYPT;
    op->state = CRYPTO_OP_STATE_INIT;
    serve(op, request_size(op));
    WANT(state_of(op), CRYPTO_OP_STATE_DONE);
    WANT(differs(data, sizes[i], i), -1);
    WANT(memcmp(op->payload, KEY, KEY_SIZE), 0);
  }
}

// A request may begin anywhere in a page and end anywhere in another; what lies around it is not touched.
static void crypto_unaligned(void) {
  uchar *area = (uchar *)PGROUNDUP(sbrk(5 * PAGE));
  memset(area, 0xee, 4 * PAGE);
  for (int offset = 8; offset < (int)PAGE; offset += 500) {
    struct crypto_op *op = (struct crypto_op *)(area + (offset & ~7));
    op->type = CRYPTO_OP_TYPE_ENCRYPT;
    op->state = CRYPTO_OP_STATE_INIT;
    op->key_size = 3;
    op->data_size = 4100;
    memmove(op->payload, "abc", 3);
    fill(op->payload + 3, 4100, 1);
    serve(op, request_size(op));
    WANT(state_of(op), CRYPTO_OP_STATE_DONE);
    for (int j = 0; j < 4100; j++)
      op->payload[3 + j] ^= "abc"[j % 3];
    WANT(differs(op->payload + 3, 4100, 1), -1);
    WANT(((uchar *)op)[-1], 0xee);
    WANT(op->payload[4103], 0xee);
    memset(area, 0xee, 4 * PAGE);
  }
}

// Ranges the client does not have, or has not for writing, never reach the server.
static void crypto_bad_range(void) {
  struct crypto_op *op = new_request(100);
  uint64 end = (uint64)memory_end();
  for (int i = 0; forbidden[i]; i++) {
    FAILS(crypto_op((struct crypto_op *)forbidden[i], 100));
    FAILS(crypto_op((struct crypto_op *)(forbidden[i] - 50), 100));
  }
  FAILS(crypto_op((struct crypto_op *)end, 1));
  FAILS(crypto_op((struct crypto_op *)(end - 50), 100));
  FAILS(crypto_op(op, 0));
  FAILS(crypto_op(op, -1));
  FAILS(crypto_op(op, (int)0x80000000));
  FAILS(crypto_op(op, 0x7fffffff));
  FAILS(crypto_op((struct crypto_op *)crypto_bad_range, 100)); // text
  FAILS(crypto_op((struct crypto_op *)((uint64)__builtin_frame_address(0) / PAGE * PAGE - PAGE), 100));
  serve(op, request_size(op));
  WANT(state_of(op), CRYPTO_OP_STATE_DONE);
}

// Requests that make no sense are answered with ERROR, their data untouched, and the next one is served.
static void expect_error(struct crypto_op *op, int size) {
  uchar first = op->payload[KEY_SIZE];
  serve(op, size);
  WANT(state_of(op), CRYPTO_OP_STATE_ERROR);
  WANT(op->payload[KEY_SIZE], first);
}

static void crypto_errors(void) {
  static const uint64 sizes[] = {101, 5000, 1UL << 31, 1UL << 32, 1UL << 63, ~0UL, ~0UL - 5, ~0UL - 29, ~0UL - 23};
  struct crypto_op *op = new_request(100);
  int size = request_size(op);
  static const int types[] = {0, 3, -1, 0x7fffffff}, states[] = {0, 2, 3, 4, -1};
  for (uint i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
    op->type = types[i];
    op->state = CRYPTO_OP_STATE_INIT;
    expect_error(op, size);
  }
  op->type = CRYPTO_OP_TYPE_ENCRYPT;
  for (uint i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
    op->state = states[i];
    expect_error(op, size);
  }
  for (uint i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    op->state = CRYPTO_OP_STATE_INIT;
    op->data_size = sizes[i];
    expect_error(op, size);
    op->data_size = 100;
    op->state = CRYPTO_OP_STATE_INIT;
    op->key_size = sizes[i] + (i == 0 ? KEY_SIZE : 0);
    expect_error(op, size);
    op->key_size = KEY_SIZE;
  }
  op->key_size = 0;
  op->state = CRYPTO_OP_STATE_INIT;
  expect_error(op, size);
  op->key_size = KEY_SIZE;
  op->state = CRYPTO_OP_STATE_INIT;
  serve(op, size);
  WANT(state_of(op), CRYPTO_OP_STATE_DONE);
}

// A request too short to hold a header is refused, or answered without harm.
static void crypto_short(void) {
  for (int size = 1; size < (int)sizeof(struct crypto_op); size++) {
    struct crypto_op *op = new_request(0);
    if (crypto_op(op, size) == 0)
      crypto_wait(op);
  }
  crypto_round_trip();
}

// Many clients at once, more than the queue holds.
static void one_client(uint64 seed) {
  struct crypto_op *op = new_request(3000);
  uchar *data = op->payload + KEY_SIZE;
  for (int i = 0; i < 8; i++) {
    op->state = CRYPTO_OP_STATE_INIT;
    fill(data, 3000, seed + i);
    serve(op, request_size(op));
    WANT(state_of(op), CRYPTO_OP_STATE_DONE);
    for (int j = 0; j < 3000; j++)
      data[j] ^= KEY[j % KEY_SIZE];
    WANT(differs(data, 3000, seed + i), -1);
  }
}

static void crypto_crowd(void) {
  for (int i = 0; i < 2 * NSHMEM_REQS; i++)
    start(one_client, i);
  finish_all(2 * NSHMEM_REQS);
}

// One client that asks five hundred times before it looks for the first answer.
static void crypto_ahead(void) {
  enum { REQUESTS = 500, SPACE = 64 };
  uchar *area = (uchar *)memory_end();
  CHECK(sbrk(REQUESTS * SPACE) != SBRK_ERROR);
  for (int i = 0; i < REQUESTS; i++) {
    struct crypto_op *op = (struct crypto_op *)(area + i * SPACE);
    op->type = CRYPTO_OP_TYPE_ENCRYPT;
    op->state = CRYPTO_OP_STATE_INIT;
    op->key_size = 1;
    op->data_size = 2;
    memmove(op->payload, "k\0\0", 3);
    WANT(crypto_op(op, request_size(op)), 0);
  }
  for (int i = REQUESTS - 1; i >= 0; i--) {
    struct crypto_op *op = (struct crypto_op *)(area + i * SPACE);
    WANT(crypto_wait(op), 0);
    WANT(state_of(op), CRYPTO_OP_STATE_DONE);
    WANT(memcmp(op->payload, "kkk", 3), 0);
  }
}

// Clients that die while their request waits, is worked on or is done disturb nobody.
static void ask_and_die(uint64 how) {
  struct crypto_op *op = new_request(60000);
  WANT(crypto_op(op, request_size(op)), 0);
  if (how == 1)
    crypto_wait(op);
  if (how == 2)
    exit(0);
  for (;;)
    sleep(1);
}

static void crypto_killed(void) {
  enum { CLIENTS = NSHMEM_REQS + 8 }; // some find the queue full
  int pids[CLIENTS];
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < CLIENTS; i++)
      pids[i] = start(ask_and_die, i % 3);
    if (round)
      sleep(round - 1);
    for (int i = 0; i < CLIENTS; i++)
      kill(pids[i]);
    for (int i = 0; i < CLIENTS; i++)
      CHECK(wait(0) > 0);
    must_live(one_client, round);
  }
}

// A client that changes the sizes while the server works harms only itself.
static void rewrite_header(uint64 both_sizes) {
  struct crypto_op *op = new_request(50000);
  volatile struct crypto_op *v = op;
  int size = request_size(op);
  for (int i = 0; i < 5; i++) {
    v->key_size = KEY_SIZE;
    v->data_size = 50000;
    v->state = CRYPTO_OP_STATE_INIT;
    WANT(crypto_op(op, size), 0);
    for (int j = 0; j < 3000 && v->state == CRYPTO_OP_STATE_INIT; j++) {
      v->data_size = j % 2 ? ~0UL : 50000;
      v->key_size = both_sizes && j % 3 ? 1UL << 40 : KEY_SIZE;
    }
    crypto_wait(op);
  }
}

// The same at the worst moment: after the server has read the header, before it is done. A server that looked again
// would write behind the data. Whether the moment was met is known afterwards: the smaller size was served.
static void rewrite_late(uint64 unused) {
  enum { DATA = 1 << 20, BEHIND = 64, TRIES = 100, HITS = 3 };
  (void)unused;
  struct crypto_op *op = new_request(DATA + BEHIND);
  volatile struct crypto_op *v = op;
  const uchar *behind = op->payload + KEY_SIZE + DATA;
  for (int i = 0, hits = 0; i < TRIES && hits < HITS; i++) {
    v->data_size = DATA;
    v->state = CRYPTO_OP_STATE_INIT;
    WANT(crypto_op(op, request_size(op)), 0);
    for (int j = i % 50 * 4000; j > 0 && v->state == CRYPTO_OP_STATE_INIT; j--)
      ;
    v->data_size = DATA + BEHIND;
    __sync_synchronize(); // the size before the look at the state
    int early = v->state == CRYPTO_OP_STATE_INIT;
    crypto_wait(op);
    hits += early && v->state == CRYPTO_OP_STATE_DONE;
    for (int j = 0; j < BEHIND; j++)
      WANT(behind[j], 0);
  }
}

static void crypto_rewritten(void) {
  must_live(rewrite_header, 0);
  must_live(rewrite_header, 1);
  must_live(rewrite_late, 0);
  must_live(one_client, 1);
}

// Waiting for a request that was never made ends at once; the queue's other end is the server's alone.
static void crypto_not_ours(void) {
  void *va;
  uint64 size;
  struct crypto_op *op = new_request(10);
  op->state = CRYPTO_OP_STATE_INIT;
  crypto_wait(op); // 0 or -1: there is nothing to wait for
  FAILS(take_shared_memory_request(&va, &size));
  FAILS(remove_shared_memory_request(op, 100));
  FAILS(remove_shared_memory_request(0, PAGE));
  must_live(one_client, 1);
}

// The range is given back before the answer comes: the client may shrink, fork, exec or exit as it likes.
static void drop_request(uint64 unused) {
  (void)unused;
  uint64 before = (uint64)sbrk(0);
  struct crypto_op *op = new_request(30000);
  WANT(crypto_op(op, request_size(op)), 0);
  sbrk(-(int)((uint64)sbrk(0) - before)); // the server may be at work on it
  sbrk(4096); // another address, or crypto_wait() could not tell the second request from the first, which may be lost
  op = new_request(30000);
  serve(op, request_size(op));
}

static void crypto_shrunk(void) {
  for (int i = 0; i < 5; i++)
    must_live(drop_request, 0);
  must_live(one_client, 1);
}

const struct test crypto_tests[] = {
    {"crypto_round_trip", crypto_round_trip, 0}, {"crypto_unaligned", crypto_unaligned, 0},
    {"crypto_bad_range", crypto_bad_range, 0},   {"crypto_errors", crypto_errors, 0},
    {"crypto_short", crypto_short, 0},           {"crypto_crowd", crypto_crowd, 0},
    {"crypto_ahead", crypto_ahead, 0},           {"crypto_killed", crypto_killed, 0},
    {"crypto_rewritten", crypto_rewritten, 0},   {"crypto_not_ours", crypto_not_ours, 0},
    {"crypto_shrunk", crypto_shrunk, 0},         {0, 0, 0},
};
