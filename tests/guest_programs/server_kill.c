// Clients that are killed while their requests wait, in the queue and in the line behind it, disturb nobody: the
// others' requests are served, the dead ones' skipped, nothing is lost. And nobody can kill the server.
#include "tests/guest_programs/check.h"

#define CLIENTS 24 // NSHMEM_REQS of them with their requests in the queue, the others in line

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

// -> whether the server was still busy with the first request when the clients were killed; else nothing is proved.
static int round(void) {
  int pids[CLIENTS], gone = 0;
  char c;
  struct crypto_op *slow = queue_slow(16 << 20);
  for (int i = 0; i < CLIENTS; i++) {
    if ((pids[i] = fork()) == 0)
      exit(client());
    CHECK(pids[i] > 0 && read(ready[0], &c, 1) == 1);
    until_asleep(pids[i]);
  }
  for (int i = 0; i < CLIENTS; i += 3)
    kill(pids[i]);
  int stalled = state_of(slow) == CRYPTO_OP_STATE_INIT;
  for (int i = 0; i < CLIENTS; i++) {
    int status, pid = wait(&status), k = 0;
    while (k < CLIENTS && pids[k] != pid)
      k++;
    CHECK(k < CLIENTS);
    if (k % 3 == 0 && status == -1)
      gone++;
    else
      CHECK(status == 0);
  }
  CHECK(!stalled || gone == (CLIENTS + 2) / 3);
  CHECK(crypto_wait(slow) == 0 && is_served(slow));
  sbrk(-(int)((char *)sbrk(0) - (char *)slow));
  return stalled;
}

int main(void) {
  CHECK(pipe(ready) == 0);
  round();
  uint64 frames = free_frames();
  int proved = 0;
  for (int i = 0; i < 10 && proved < 2; i++)
    proved += round();
  CHECK(proved == 2);
  CHECK(free_frames() == frames);
  CHECK(kill(CRYPTO_SRV_PID) == -1);
  CHECK(client() == 0);
  return report();
}
