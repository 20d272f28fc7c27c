// usertests: pipes. Bytes arrive once, in order; ends that close are noticed; a failing call moves nothing.
#include "user/dice.h"
#include "user/usertests.h"

static int fds[2];

static void open_pipe(void) {
  WANT(pipe(fds), 0);
}

static void close_pipe(void) {
  close(fds[0]);
  close(fds[1]);
}

#define STREAM 60000

static void send_stream(uint64 seed) {
  uint sent = 0;
  dice_state = seed + 1;
  close(fds[0]);
  fill(work, STREAM, seed);
  while (sent < STREAM) {
    uint n = dice(1500) + 1;
    if (n > STREAM - sent)
      n = STREAM - sent;
    WANT(write(fds[1], work + sent, n), n);
    sent += n;
  }
}

// A stream much longer than the pipe, written and read in pieces of random sizes.
static void pipe_stream(void) {
  for (uint64 seed = 0; seed < 4; seed++) {
    uint got = 0;
    int n;
    dice_state = seed + 77;
    open_pipe();
    start(send_stream, seed);
    close(fds[1]);
    memset(work, 0, STREAM);
    while ((n = read(fds[0], work + got, dice(700) + 1)) > 0)
      got += n;
    WANT(n, 0);
    WANT(got, STREAM);
    WANT(differs(work, STREAM, seed), -1);
    close(fds[0]);
    finish_all(1);
  }
}

static void send_marks(uint64 mark) {
  memset(work, mark, 64);
  for (int i = 0; i < 100; i++)
    WANT(write(fds[1], work, 1 + i % 64), 1 + i % 64);
}

static void collect_marks(uint64 fd) {
  int n;
  static int count[8];
  close(fds[1]);
  while ((n = read(fds[0], work, 777)) > 0)
    for (int i = 0; i < n; i++) {
      CHECK(work[i] < 8);
      count[work[i]]++;
    }
  write(fd, count, sizeof(count));
}

// Several writers and several readers: no byte is lost or seen twice.
static void pipe_crowd(void) {
  int result[2], want = 0, count[8];
  open_pipe();
  WANT(pipe(result), 0);
  for (int i = 0; i < 100; i++)
    want += 1 + i % 64;
  for (int i = 0; i < 3; i++)
    start(collect_marks, result[1]);
  for (int i = 0; i < 8; i++)
    start(send_marks, i);
  close_pipe();
  finish_all(11);
  int total[8] = {0};
  for (int i = 0; i < 3; i++) {
    WANT(read(result[0], count, sizeof(count)), sizeof(count));
    for (int j = 0; j < 8; j++)
      total[j] += count[j];
  }
  for (int j = 0; j < 8; j++)
    WANT(total[j], want);
  close(result[0]);
  close(result[1]);
}

// Reading gives what is there, not more, without waiting for a full buffer; then the end when all writers are gone.
static void pipe_end(void) {
  open_pipe();
  int copy = dup(fds[1]);
  WANT(write(fds[1], "hello", 5), 5);
  WANT(read(fds[0], work, 100), 5);
  WANT(memcmp(work, "hello", 5), 0);
  WANT(write(copy, "last", 4), 4);
  close(fds[1]);
  close(copy);
  WANT(read(fds[0], work, 2), 2);
  WANT(read(fds[0], work + 2, 100), 2);
  WANT(memcmp(work, "last", 4), 0);
  WANT(read(fds[0], work, 100), 0);
  WANT(read(fds[0], work, 100), 0);
  close(fds[0]);
}

// Writing where nobody can read fails, as does using an end the wrong way round.
static void pipe_broken(void) {
  open_pipe();
  FAILS(read(fds[1], work, 1));
  FAILS(write(fds[0], work, 1));
  close(fds[0]);
  FAILS(write(fds[1], work, 1));
  FAILS(write(fds[1], work, 5000));
  close(fds[1]);
  FAILS(write(fds[1], work, 1));
}

// No bytes asked for is no reason to wait, be the pipe empty, full or closed.
static void pipe_zero(void) {
  open_pipe();
  WANT(read(fds[0], work, 0), 0);
  WANT(write(fds[1], work, 0), 0);
  WANT(write(fds[1], "x", 1), 1);
  WANT(read(fds[0], work, 0), 0);
  WANT(read(fds[0], work, 9), 1);
  CHECK(read(fds[0], work, -1) <= 0);
  CHECK(write(fds[1], work, -1) <= 0);
  CHECK(write(fds[1], work, (int)0x80000000) <= 0);
  WANT(write(fds[1], "y", 1), 1);
  WANT(read(fds[0], work, 9), 1);
  WANT(work[0], 'y');
  close(fds[1]);
  WANT(read(fds[0], work, 0), 0);
  close(fds[0]);
}

// A read that cannot deliver leaves the bytes for one that can.
static void pipe_bad_read(void) {
  char *end = memory_end();
  open_pipe();
  WANT(write(fds[1], "precious", 8), 8);
  for (int i = 0; forbidden[i]; i++)
    FAILS(read(fds[0], (void *)forbidden[i], 8));
  FAILS(read(fds[0], end, 8));
  FAILS(read(fds[0], end - 3, 8)); // the first three bytes have a place
  FAILS(read(fds[0], (void *)pipe_bad_read, 8));
  WANT(read(fds[0], work, 8), 8);
  WANT(memcmp(work, "precious", 8), 0);
  close_pipe();
}

// A write that cannot fetch all its bytes sends none.
static void pipe_bad_write(void) {
  char *end = memory_end();
  open_pipe();
  for (int i = 0; forbidden[i]; i++)
    FAILS(write(fds[1], (void *)forbidden[i], 8));
  FAILS(write(fds[1], end, 8));
  FAILS(write(fds[1], end - 3, 8));
  FAILS(write(fds[1], end - 3, 0x7fffffff));
  WANT(write(fds[1], "only", 4), 4);
  WANT(read(fds[0], work, 100), 4);
  WANT(memcmp(work, "only", 4), 0);
  close_pipe();
}

static void expect_end(uint64 unused) {
  (void)unused;
  close(fds[1]);
  WANT(read(fds[0], work, 1), 0);
}

static void expect_break(uint64 unused) {
  (void)unused;
  close(fds[0]);
  WANT(write(fds[1], work, 20000), -1);
}

// Who is blocked when the last process at the other end goes is woken, whether that one closes or is killed.
static void hold_open(uint64 unused) {
  (void)unused;
  sleep(0x7fffffff);
}

static void pipe_close_blocked(void) {
  for (int kills = 0; kills < 2; kills++) {
    for (int writers = 0; writers < 2; writers++) {
      open_pipe();
      int blocked = start(writers ? expect_break : expect_end, 0);
      int holder = start(hold_open, 0);
      close_pipe();
      sleep(1);
      kill(holder);
      for (int i = 0; i < 2; i++) {
        int status, pid = wait(&status);
        WANT(status, pid == blocked ? 0 : -1);
      }
    }
  }
}

// pipe fails whole when there is no room for two descriptors or no place to say which.
static void pipe_exhausted(void) {
  int n = 0, ends[2] = {-7, -7};
  for (int i = 0; forbidden[i]; i++)
    FAILS(pipe((int *)forbidden[i]));
  FAILS(pipe((int *)pipe_exhausted));
  FAILS(pipe((int *)(memory_end() - 4)));
  while (dup(0) >= 0)
    n++;
  CHECK(n >= 10);
  FAILS(pipe(ends));
  close(NOFILE - 1);
  FAILS(pipe(ends));
  WANT(ends[0], -7);
  close(NOFILE - 2);
  WANT(pipe(ends), 0);
  WANT(ends[0] + ends[1], 2 * NOFILE - 3);
  for (int i = 3; i < NOFILE; i++)
    close(i);
}

// Pipes by the hundred, one after the other and through a ring of processes.
static void pass_on(uint64 both) {
  int from = both & 0xff, to = both >> 8, n;
  while ((n = read(from, work, 512)) > 0)
    WANT(write(to, work, n), n);
}

static void pipe_chain(void) {
  int first[2], last;
  for (int i = 0; i < 300; i++) {
    open_pipe();
    close_pipe();
  }
  WANT(pipe(first), 0);
  last = first[0];
  for (int i = 0; i < 10; i++) {
    int next[2];
    WANT(pipe(next), 0);
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      close(first[1]);
      close(next[0]);
      pass_on(next[1] << 8 | last);
      exit(0);
    }
    close(last);
    close(next[1]);
    last = next[0];
  }
  uchar sent[256];
  fill(sent, sizeof(sent), 5);
  WANT(write(first[1], sent, sizeof(sent)), sizeof(sent));
  close(first[1]);
  int got = 0, n;
  while ((n = read(last, work + got, 1000)) > 0)
    got += n;
  WANT(got, sizeof(sent));
  WANT(differs(work, sizeof(sent), 5), -1);
  close(last);
  finish_all(10);
}

const struct test pipe_tests[] = {
    {"pipe_stream", pipe_stream, 0},
    {"pipe_crowd", pipe_crowd, 0},
    {"pipe_end", pipe_end, 0},
    {"pipe_broken", pipe_broken, 0},
    {"pipe_zero", pipe_zero, 0},
    {"pipe_bad_read", pipe_bad_read, 0},
    {"pipe_bad_write", pipe_bad_write, 0},
    {"pipe_close_blocked", pipe_close_blocked, 0},
    {"pipe_exhausted", pipe_exhausted, 0},
    {"pipe_chain", pipe_chain, 0},
    {0, 0, 0},
};
