// Clients that are killed while their requests wait, in the queue and in the line behind it, disturb nobody: the
// others' requests are served, the dead ones' skipped, nothing is lost. And nobody can kill the server.
#include "tests/guest_programs/check.h"

#define CLIENTS 24 // NSHMEM_REQS of them with their requests in the queue, the others in line
#define SLOW                                                                                                           \
  (320 << 20) // bytes of a request that keeps the server busy: on one hart it gets a slice for each fork below

static char memory[1024] __attribute__((aligned(16)));

static int ready[2]; // a client about to ask writes here

static int client(void) {
  struct crypto_op *op = (struct crypto_op *)memory;
  fill(op, 9, 500);
  write(ready[1], "!", 1);
  if (crypto_op(op, size_of(op)) < 0 || crypto_wait(op) < 0)
    return 1;
  return is_served(op) ? 0 : 2;
}

// A process of its own, or each fork below would copy the memory that the server sees.
static int slow_client(void) {
  struct crypto_op *op = queue_slow(SLOW);
  write(ready[1], "!", 1);
  return crypto_wait(op) == 0 && is_served(op) ? 0 : 3;
}

static int start(int (*run)(void)) {
  int pid = fork();
  if (pid == 0)
    exit(run());
  CHECK(pid > 0);
  return pid;
}

static void wait_for_ready(int n) {
  for (char c; n > 0; n--)
    CHECK(read(ready[0], &c, 1) == 1);
}

// -> whether the server was still busy with the first request when the killing began; else nothing is proved.
static int round(void) {
  int pids[CLIENTS], gone = 0, slow = start(slow_client);
  wait_for_ready(1);
  for (int i = 0; i < CLIENTS; i++)
    pids[i] = start(client);
  wait_for_ready(CLIENTS);
  for (int i = 0; i < CLIENTS; i++)
    until_asleep(pids[i]);
  int stalled = info_of(CRYPTO_SRV_PID).shared >= SLOW / PAGE;
  for (int i = 0; i < CLIENTS; i += 3)
    kill(pids[i]);
  for (int i = 0; i < CLIENTS + 1; i++) {
    int status, pid = wait(&status), k = 0;
    while (k < CLIENTS && pids[k] != pid)
      k++;
    CHECK(k < CLIENTS || pid == slow);
    if (k < CLIENTS && k % 3 == 0 && status == -1)
      gone++;
    else
      CHECK(status == 0);
  }
  CHECK(!stalled || gone > 0);
  return stalled;
}

int main(void) {
  CHECK(pipe(ready) == 0);
  round();
  uint64 frames = free_frames();
  int proved = 0;
  for (int i = 0; i < 30 && proved < 2; i++)
    proved += round();
  CHECK(proved == 2);
  CHECK(free_frames() == frames);
  CHECK(kill(CRYPTO_SRV_PID) == -1);
  CHECK(client() == 0);
  wait_for_ready(1);
  return report();
}
