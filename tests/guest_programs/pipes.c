// Pipes: every byte once and in order whatever the sizes, small writes whole among other writers', bad buffers that
// lose nothing, and ends that go away or are killed.
#include "tests/guest_programs/check.h"

#define STREAM 300000 // bytes

static uchar bytes[8192];

static uchar byte_at(uint i) {
  return i * 31 + i / 251;
}

static uint random(uint *seed) {
  return (*seed = *seed * 1103515245 + 12345) >> 8;
}

// One writer, one reader, both in pieces of changing sizes and at changing alignments.
static void stream(uint seed) {
  int p[2], status = -1;
  CHECK(pipe(p) == 0);
  int pid = fork();
  if (pid == 0) {
    close(p[0]);
    for (uint done = 0, n; done < STREAM; done += n) {
      n = random(&seed) % 5000 + 1;
      if (n > STREAM - done)
        n = STREAM - done;
      uchar *at = bytes + random(&seed) % 16;
      for (uint i = 0; i < n; i++)
        at[i] = byte_at(done + i);
      if (write(p[1], at, n) != (int)n)
        exit(1);
    }
    exit(0);
  }
  close(p[1]);
  uint done = 0, wrong = 0;
  for (int n = 1; n > 0; done += n) {
    uchar *at = bytes + random(&seed) % 16;
    n = read(p[0], at, random(&seed) % 6000 + 1);
    CHECK(n >= 0);
    for (int i = 0; i < n; i++)
      wrong += at[i] != byte_at(done + i);
  }
  close(p[0]);
  CHECK(wrong == 0 && done == STREAM);
  CHECK(wait(&status) == pid && status == 0);
}

// Four writers of 500 bytes each time: each record arrives in one piece.
static void whole_records(void) {
  enum { RECORD = 500, RECORDS = 60, WRITERS = 4 };
  int p[2], got[WRITERS] = {0}, torn = 0;
  CHECK(pipe(p) == 0);
  for (int w = 0; w < WRITERS; w++)
    if (fork() == 0) {
      memset(bytes, 'a' + w, RECORD);
      for (int i = 0; i < RECORDS; i++)
        if (write(p[1], bytes, RECORD) != RECORD)
          exit(1);
      exit(0);
    }
  close(p[1]);
  for (uint have = 0;;) {
    int n = read(p[0], bytes + have, RECORD - have);
    if (n <= 0)
      break;
    have += n;
    if (have < RECORD)
      continue;
    have = 0;
    torn += !all_are(bytes, RECORD, bytes[0]);
    if (bytes[0] >= 'a' && bytes[0] < 'a' + WRITERS)
      got[bytes[0] - 'a']++;
  }
  close(p[0]);
  CHECK(torn == 0);
  for (int w = 0, status; w < WRITERS; w++)
    CHECK(wait(&status) > 0 && status == 0 && got[w] == RECORDS);
}

static void bad_buffers(void) {
  int p[2];
  char c[4];
  CHECK(pipe(p) == 0);
  CHECK(read(p[0], c, 0) == 0); // at once
  CHECK(write(p[1], c, 0) == 0);
  CHECK(write(p[1], "data", 4) == 4);
  char *end = sbrk(0);
  const uint64 bad[] = {0, (uint64)end, (uint64)end - 2, 1UL << 38, -1UL, 0xffffffc080000000UL};
  for (uint i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    CHECK(read(p[0], (void *)bad[i], 4) == -1);
    if (bad[i] != 0)
      CHECK(write(p[1], (void *)bad[i], 4) == -1);
  }
  CHECK(read(p[0], c, -1) == -1);
  CHECK(read(p[0], c, 4) == 4 && memcmp(c, "data", 4) == 0);
  close(p[0]);
  CHECK(write(p[1], "x", 1) == -1);
  close(p[1]);
  CHECK(pipe(p) == 0);
  CHECK(write(p[1], "ab", 2) == 2);
  close(p[1]);
  CHECK(read(p[0], c, 1) == 1 && c[0] == 'a');
  CHECK(read(p[0], c, 4) == 1 && c[0] == 'b');
  CHECK(read(p[0], c, 4) == 0);
  close(p[0]);
}

// Killed while they wait for data, or for room.
static void killed_ends(void) {
  for (int writes = 0; writes < 2; writes++) {
    int p[2], status = 0;
    CHECK(pipe(p) == 0);
    int pid = fork();
    if (pid == 0) {
      if (writes)
        write(p[1], bytes, sizeof(bytes));
      else
        read(p[0], bytes, 1);
      exit(0);
    }
    sleep(1);
    until_asleep(pid);
    CHECK(kill(pid) == 0);
    CHECK(wait(&status) == pid && status == -1);
    close(p[0]);
    close(p[1]);
  }
}

int main(void) {
  bad_buffers();
  uint64 frames = free_frames();
  for (uint seed = 1; seed < 5; seed++)
    stream(seed);
  whole_records();
  bad_buffers();
  killed_ends();
  CHECK(free_frames() == frames);
  return report();
}
