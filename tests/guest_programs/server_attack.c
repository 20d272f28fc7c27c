// Clients that change what they have asked for while the server has it, or give the memory up: the server survives
// and serves the next.
#include "kernel/param.h"
#include "tests/guest_programs/check.h"

static char memory[4096] __attribute__((aligned(4096)));

static void check_served(void) {
  struct crypto_op *op = (struct crypto_op *)memory;
  fill(op, 3, 200);
  CHECK(crypto_op(op, size_of(op)) == 0 && crypto_wait(op) == 0 && is_served(op));
}

// Rewrites the header as fast as it can until the answer comes.
static void rewrite_sizes(void) {
  struct crypto_op *op = (struct crypto_op *)sbrk(3 << 20);
  for (int round = 0; round < 20; round++) {
    fill(op, round % 2 ? 2049 : 7, round % 4 < 2 ? 1 << 20 : 4000);
    uint64 size = size_of(op);
    CHECK(crypto_op(op, size) == 0);
    volatile struct crypto_op *shared = op;
    for (uint64 i = 0; shared->state == CRYPTO_OP_STATE_INIT && i < 10 * 1000 * 1000; i++) {
      shared->key_size = i % 3 == 0 ? 0 : -i;
      shared->data_size = i % 2 ? -1UL : 1UL << 40;
      shared->type = i;
    }
    CHECK(crypto_wait(op) == 0);
    CHECK(state_of(op) == CRYPTO_OP_STATE_DONE || state_of(op) == CRYPTO_OP_STATE_ERROR);
  }
  sbrk(-(3 << 20));
  check_served();
}

// The memory is gone when the server comes to it.
static void shrink_while_waiting(void) {
  struct crypto_op *slow = queue_slow(32 << 20); // longer than any slice: one hart may run the server first
  struct crypto_op *op = (struct crypto_op *)sbrk(4 * PAGE);
  fill(op, 8, 3 * PAGE);
  CHECK(crypto_op(op, size_of(op)) == 0);
  sbrk(-(int)(4 * PAGE));
  int stalled = state_of(slow) == CRYPTO_OP_STATE_INIT;
  CHECK(crypto_wait(op) == (stalled ? -1 : 0));
  CHECK(stalled);
  CHECK(crypto_wait(slow) == 0 && is_served(slow));
  sbrk(-(int)((char *)sbrk(0) - (char *)slow));
  check_served();
}

// Another program's text is where the request was: the server must not try to write there.
static void exec_while_waiting(void) {
  struct crypto_op *slow = queue_slow(4 << 20);
  int pid = fork();
  if (pid == 0) {
    struct crypto_op *op = (struct crypto_op *)memory;
    fill(op, 8, 1000);
    char *argv[] = {"shmtrace", "-n", "0", 0};
    if (crypto_op(op, size_of(op)) == 0)
      exec("shmtrace", argv);
    exit(1);
  }
  int status = -1;
  CHECK(wait(&status) == pid && status == 0);
  CHECK(crypto_wait(slow) == 0 && is_served(slow));
  sbrk(-(int)((char *)sbrk(0) - (char *)slow));
  check_served();
}

// A request is its program's: after exec the same address is another's memory, which stays as it is, and nothing is
// pending there.
static void exec_cancels(char *self) {
  struct crypto_op *slow = queue_slow(32 << 20);
  int pid = fork();
  if (pid == 0) {
    struct crypto_op *op = (struct crypto_op *)memory;
    char *argv[] = {self, "cancelled", 0};
    fill(op, 8, 1000);
    if (crypto_op(op, size_of(op)) == 0)
      exec(self, argv);
    exit(1);
  }
  CHECK(crypto_wait(slow) == 0 && is_served(slow));
  check_served(); // it stood behind the child's
  int status = -1;
  CHECK(wait(&status) == pid && status == 0);
  sbrk(-(int)((char *)sbrk(0) - (char *)slow));
}

// What exec_cancels() runs: the parent's next request was made before or after this looks; both must find nothing.
static int cancelled(void) {
  struct crypto_op *op = (struct crypto_op *)memory;
  fill(op, 8, 1000);
  for (int i = 0; i < 20; i++) {
    CHECK(crypto_wait(op) == 0);
    CHECK(state_of(op) == CRYPTO_OP_STATE_INIT);
    sleep(1);
  }
  return failures;
}

// Of several requests at one address crypto_wait() tells of the last.
static void ask_again(void) {
  struct crypto_op *slow = queue_slow(32 << 20);
  struct crypto_op *op = (struct crypto_op *)sbrk(4 * PAGE);
  fill(op, 8, 100);
  CHECK(crypto_op(op, 3 * PAGE) == 0); // will be lost: the pages go
  sbrk(-(int)(2 * PAGE));
  CHECK(crypto_op(op, size_of(op)) == 0);
  int stalled = state_of(slow) == CRYPTO_OP_STATE_INIT;
  int result = crypto_wait(op);
  CHECK(!stalled || result == 0);
  CHECK(stalled);
  CHECK(crypto_wait(slow) == 0 && is_served(slow));
  sbrk(-(int)((char *)sbrk(0) - (char *)slow));
}

// Forks while the request is in service: parent and server must go on seeing the same frames.
static void fork_while_in_service(void) {
  struct crypto_op *op = queue_slow(4 << 20);
  for (int i = 0; i < 3; i++) {
    int pid = fork();
    if (pid == 0)
      exit(0);
    CHECK(wait(0) == pid);
  }
  CHECK(crypto_wait(op) == 0 && is_served(op));
  sbrk(-(int)((char *)sbrk(0) - (char *)op));
}

// The client exits at once, over and over.
static void exit_while_in_service(void) {
  for (int i = 0; i < 40; i++) {
    int pid = fork();
    if (pid == 0) {
      queue_slow(64 << 10);
      exit(0);
    }
    CHECK(wait(0) == pid);
  }
  check_served();
}

// Only the server may use the server's calls.
static void server_calls(void) {
  void *va;
  uint64 size;
  CHECK(take_shared_memory_request(&va, &size) == -1);
  CHECK(take_shared_memory_request((void **)-1UL, &size) == -1);
  CHECK(remove_shared_memory_request(memory, sizeof(memory)) == -1);
  CHECK(map_shared_pages(CRYPTO_SRV_PID, getpid(), PAGE, 64) == -1UL);
  CHECK(map_shared_pages(getpid(), CRYPTO_SRV_PID, (uint64)memory, 64) == -1UL);
  CHECK(unmap_shared_pages(CRYPTO_SRV_PID, PAGE, 64) == -1);
}

int main(int argc, char *argv[]) {
  if (argc > 1)
    return cancelled();
  check_served();
  server_calls();
  rewrite_sizes();
  shrink_while_waiting();
  exec_while_waiting();
  exec_cancels(argv[0]);
  ask_again();
  fork_while_in_service();
  exit_while_in_service();
  uint64 frames = free_frames();
  shrink_while_waiting();
  exec_while_waiting();
  exit_while_in_service();
  CHECK(free_frames() == frames);
  return report();
}
