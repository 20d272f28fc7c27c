// stressfs: several processes write, read back and remove files at the same time, so that their transactions meet in
// the log, and the disk queue stays full. usage: stressfs [PROCESSES [ROUNDS]]
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "kernel/fs.h"
#include "user/user.h"

#define RECORD 512
#define RECORDS 40

static char record[RECORD], got[RECORD];

static void fail(int who, const char *what) {
  fprintf(2, "stressfs: process %d: %s failed\n", who, what);
  exit(1);
}

static void make_record(int who, int round, int i) {
  memset(record, 'a' + (who + round + i) % 26, RECORD);
}

// One file of RECORDS records, written, checked and removed.
static void one_round(int who, int round) {
  char name[DIRSIZ] = "stressfs-";
  name[9] = 'a' + who;

  int fd = open(name, O_CREATE | O_TRUNC | O_RDWR);
  if (fd < 0)
    fail(who, "create");
  for (int i = 0; i < RECORDS; i++) {
    make_record(who, round, i);
    if (write(fd, record, RECORD) != RECORD)
      fail(who, "write");
  }
  close(fd);

  fd = open(name, O_RDONLY);
  for (int i = 0; i < RECORDS; i++) {
    make_record(who, round, i);
    if (read(fd, got, RECORD) != RECORD || memcmp(got, record, RECORD) != 0)
      fail(who, "read back");
  }
  if (read(fd, got, 1) != 0)
    fail(who, "end of file");
  close(fd);
  if (unlink(name) < 0)
    fail(who, "unlink");
}

int main(int argc, char *argv[]) {
  int processes = argc > 1 ? atoi(argv[1]) : 5, rounds = argc > 2 ? atoi(argv[2]) : 3, bad = 0;

  if (processes < 1 || processes > 26 || rounds < 1 || argc > 3) {
    fprintf(2, "usage: stressfs [PROCESSES (1 to 26) [ROUNDS]]\n");
    exit(2);
  }
  printf("stressfs: %d processes, %d rounds\n", processes, rounds);
  for (int who = 0; who < processes; who++) {
    int pid = fork();
    if (pid < 0) {
      fprintf(2, "stressfs: fork failed\n");
      bad++;
    }
    if (pid == 0) {
      for (int round = 0; round < rounds; round++)
        one_round(who, round);
      exit(0);
    }
  }
  for (int status; wait(&status) >= 0;)
    bad += status != 0;
  printf("stressfs: %s\n", bad ? "FAILED" : "OK");
  return bad ? 1 : 0;
}
