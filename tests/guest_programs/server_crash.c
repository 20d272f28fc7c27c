// Needs crypto_srv_bug as the server. Clients whose request the server dies with are told, those that only wait in the
// queue are served by the next server, which is process 2 again.
#include "tests/guest_programs/check.h"

static char memory[8][512] __attribute__((aligned(16)));

static struct crypto_op *make(int i, const char *key) {
  struct crypto_op *op = (struct crypto_op *)memory[i];
  fill(op, strlen(key), 64);
  memcpy(op->payload, key, strlen(key));
  return op;
}

static int ask(struct crypto_op *op) {
  return crypto_op(op, size_of(op));
}

// A good request is served, and by process 2.
static void check_alive(int i) {
  struct crypto_op *op = make(i, "kkk");
  CHECK(ask(op) == 0 && crypto_wait(op) == 0 && is_served(op));
  CHECK(strcmp(info_of(CRYPTO_SRV_PID).name, "crypto_srv") == 0);
  CHECK(info_of(CRYPTO_SRV_PID).shared == 0);
}

static void one_death(const char *key) {
  struct crypto_op *op = make(0, key);
  CHECK(ask(op) == 0);
  CHECK(crypto_wait(op) == -1);
  CHECK(state_of(op) == CRYPTO_OP_STATE_ERROR);
  CHECK(crypto_wait(op) == 0); // told once
  check_alive(1);
}

// Bad, good, bad, good, all queued before the first is waited for.
static void deaths_among_others(void) {
  struct crypto_op *ops[6];
  for (int i = 0; i < 6; i++)
    ops[i] = make(i, i % 2 ? "kkk" : i == 2 ? "EXIT" : "CRASH");
  for (int i = 0; i < 6; i++)
    CHECK(ask(ops[i]) == 0);
  for (int i = 5; i >= 0; i--) {
    int result = crypto_wait(ops[i]);
    CHECK(i % 2 ? result == 0 && is_served(ops[i]) : result == -1 && state_of(ops[i]) == CRYPTO_OP_STATE_ERROR);
  }
}

// A client that polls the state, as the assignment's do, is not left spinning.
static void a_poller(void) {
  struct crypto_op *op = make(0, "EXIT");
  CHECK(ask(op) == 0);
  while (state_of(op) == CRYPTO_OP_STATE_INIT)
    ;
  CHECK(state_of(op) == CRYPTO_OP_STATE_ERROR);
}

// Two requests in service when the server dies.
static void two_lost(void) {
  struct crypto_op *kept = make(0, "KEEP"), *next = make(1, "kkk");
  CHECK(ask(kept) == 0 && ask(next) == 0);
  CHECK(crypto_wait(kept) == -1 && crypto_wait(next) == -1);
  CHECK(state_of(kept) == CRYPTO_OP_STATE_ERROR && state_of(next) == CRYPTO_OP_STATE_ERROR);
}

// The server dies with the request of a client that has died before.
static void a_dead_client(void) {
  int pid = fork();
  if (pid == 0) {
    ask(make(0, "CRASH"));
    exit(0);
  }
  CHECK(wait(0) == pid);
}

// Dies while another holds all memory, for longer than a server that does not run is tried: it comes back with the
// memory.
static void no_memory(void) {
  int pid = fork();
  if (pid == 0) {
    struct crypto_op *op = make(0, "CRASH");
    for (uint64 n = 256; n > 0; n /= 2)
      while (sbrk(n * PAGE) != SBRK_ERROR)
        ;
    CHECK(ask(op) == 0 && crypto_wait(op) == -1);
    sleep(200);
    exit(failures);
  }
  int status = -1;
  CHECK(wait(&status) == pid && status == 0);
  check_alive(1);
}

int main(int argc, char *argv[]) {
  (void)argv;
  if (argc > 1) {
    no_memory();
    return report();
  }
  check_alive(0);
  one_death("CRASH");
  uint64 frames = free_frames();
  one_death("EXIT");
  one_death("CRASH");
  deaths_among_others();
  a_poller();
  two_lost();
  a_dead_client();
  check_alive(0);
  CHECK(free_frames() == frames);
  return report();
}
