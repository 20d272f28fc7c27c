// server_load CLIENTS REQUESTS: so many processes each queue so many requests before they wait for the first. All are
// served, exactly once, and taken in the order in which they came.
#include "kernel/trace.h"
#include "kernel/trace_events.h"
#include "tests/guest_programs/check.h"

#define DATA 300 // bytes of a request
#define ORDER (1UL << TRACE_DEQUEUE)

static int client(int requests, int start) {
  struct crypto_op **ops = malloc(requests * sizeof(*ops));
  for (int i = 0; i < requests; i++) {
    ops[i] = malloc(sizeof(struct crypto_op) + 7 + DATA);
    fill(ops[i], 7, DATA);
  }
  char go;
  read(start, &go, 1); // ends when the parent lets all go at once
  for (int i = 0; i < requests; i++)
    CHECK(crypto_op(ops[i], size_of(ops[i])) == 0);
  for (int i = 0; i < requests; i++)
    CHECK(crypto_wait(ops[i]) == 0 && is_served(ops[i]));
  return failures != 0;
}

// Reads the numbers of the requests taken since the cursors were set: within a ring in rising order, all there once.
static void check_order(struct trace_cursor cursors[NCPU], int total) {
  static struct trace_record records[64];
  static uchar seen[1024];
  static uint64 last_time[1024];
  uint64 first = -1, taken = 0;
  for (int hart = 0; hart < NCPU; hart++)
    for (int n; (n = trace_read(hart, &cursors[hart], records, 64)) > 0;)
      for (struct trace_record *r = records; r < records + n; r++)
        if (r->event == TRACE_DEQUEUE) {
          if (r->args[0] < first)
            first = r->args[0];
          seen[r->args[0] % 1024]++;
          last_time[r->args[0] % 1024] = r->time;
          taken++;
        }
  CHECK(taken == (uint64)total);
  for (int i = 0; i < total; i++)
    CHECK(seen[(first + i) % 1024] == 1);
  for (int i = 1; i < total; i++)
    CHECK(last_time[(first + i - 1) % 1024] <= last_time[(first + i) % 1024]);
}

int main(int argc, char **argv) {
  int clients = argc == 3 ? atoi(argv[1]) : 0, requests = argc == 3 ? atoi(argv[2]) : 0, start[2];
  if (clients <= 0 || requests <= 0 || clients * requests > 1000 || pipe(start) < 0) {
    fprintf(2, "usage: server_load CLIENTS REQUESTS\n");
    return 2;
  }
  struct trace_cursor cursors[NCPU];
  uint64 mask = trace_control(TRACE_SET_MASK, ORDER);
  for (int hart = 0; hart < NCPU; hart++)
    cursors[hart] = (struct trace_cursor){.position = trace_control(TRACE_HEAD, hart)};
  for (int i = 0; i < clients; i++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      close(start[1]);
      return client(requests, start[0]);
    }
  }
  close(start[0]);
  close(start[1]); // go
  for (int i = 0, status; i < clients; i++)
    CHECK(wait(&status) > 0 && status == 0);
  check_order(cursors, clients * requests);
  trace_control(TRACE_SET_MASK, mask);
  return report();
}
