// usertests: kill reaches a process in every state, and only processes that are there. A killed one's status is -1.
#include "user/usertests.h"
#include "kernel/fcntl.h"

static void must_be_killed(int pid) {
  WANT(kill(pid), 0);
  WANT(finish(pid), -1);
}

static void run_forever(uint64 unused) {
  (void)unused;
  for (;;)
    __asm__ volatile("" : : : "memory");
}

static void sleep_forever(uint64 unused) {
  (void)unused;
  sleep(0x7fffffff);
}

static void read_forever(uint64 fd) {
  char byte;
  read(fd, &byte, 1);
}

static void write_forever(uint64 fd) {
  while (write(fd, work, 512) == 512)
    ;
}

static void wait_forever(uint64 unused) {
  (void)unused;
  int pid = fork();
  if (pid == 0) {
    sleep(20); // outlives its parent
    exit(0);
  }
  wait(0);
}

static void call_forever(uint64 unused) {
  (void)unused;
  for (;;)
    getpid();
}

static void fork_forever(uint64 unused) {
  (void)unused;
  for (;;) {
    int pid = fork();
    if (pid == 0)
      exit(0);
    if (pid > 0)
      wait(0);
  }
}

static void exec_forever(uint64 round) {
  char *argv[] = {"echo", 0};
  (void)round;
  close(1);
  for (;;) {
    int pid = fork();
    if (pid == 0) {
      exec("/echo", argv);
      exit(1);
    }
    wait(0);
  }
}

static void file_forever(uint64 unused) {
  (void)unused;
  for (;;) {
    int fd = open("killed", O_CREATE | O_TRUNC | O_RDWR);
    write(fd, work, 5000);
    close(fd);
    unlink("killed");
  }
}

static void grow_forever(uint64 unused) {
  (void)unused;
  for (;;) {
    sbrk(100 * PAGE);
    sbrk(-(int)(100 * PAGE));
  }
}

// Each activity is killed before it began, early, and well into it.
static void kill_in(body activity, uint64 argument) {
  for (int delay = 0; delay < 3; delay++) {
    int pid = start(activity, argument);
    if (delay)
      sleep(delay);
    must_be_killed(pid);
  }
}

static void kill_running(void) {
  kill_in(run_forever, 0);
  kill_in(call_forever, 0);
  kill_in(grow_forever, 0);
}

static void kill_sleeping(void) {
  kill_in(sleep_forever, 0);
}

static void kill_waiting(void) {
  kill_in(wait_forever, 0);
}

static void kill_forking(void) {
  kill_in(fork_forever, 0);
  kill_in(exec_forever, 0);
}

static void kill_in_pipe(void) {
  int empty[2], full[2];
  WANT(pipe(empty), 0);
  WANT(pipe(full), 0);
  kill_in(read_forever, empty[0]);
  kill_in(write_forever, full[1]);
  close(empty[0]);
  close(empty[1]);
  close(full[0]);
  close(full[1]);
}

// A process killed in the middle of file operations leaves a file system that works.
static void kill_in_files(void) {
  for (int i = 0; i < 5; i++)
    kill_in(file_forever, 0);
  unlink("killed"); // it may be there or not
  put_file("killed", 3000, 1);
  want_file("killed", 3000, 1);
  WANT(unlink("killed"), 0);
}

static void kill_oneself(uint64 unused) {
  (void)unused;
  kill(getpid());
  exit(5);
}

static void kill_self(void) {
  for (int i = 0; i < 10; i++)
    WANT(finish(start(kill_oneself, 0)), -1);
}

// A dead process that was not waited for yet keeps its own status; one that is gone cannot be killed.
static void exit_seven(uint64 fd) {
  (void)fd;
  exit(7);
}

static void kill_dead(void) {
  int fds[2];
  char byte;
  WANT(pipe(fds), 0);
  int pid = start(exit_seven, 0);
  close(fds[1]);
  WANT(read(fds[0], &byte, 1), 0); // the child's end is closed: it is exiting
  close(fds[0]);
  sleep(1);
  kill(pid);
  WANT(finish(pid), 7);
  FAILS(kill(pid));
}

static void kill_nobody(void) {
  FAILS(kill(0));
  FAILS(kill(-1));
  FAILS(kill(-2));
  FAILS(kill(0x7fffffff));
  FAILS(kill((int)0x80000000));
  FAILS(kill(getpid() + 100000));
}

// init cannot be killed: whether the call says 0 or -1, orphans still find their new parent afterwards.
static void kill_init(void) {
  kill(1);
  for (int i = 0; i < 3; i++) {
    int pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
      if (fork() == 0)
        sleep(1);
      exit(0);
    }
    WANT(finish(pid), 0);
  }
  sleep(2);
}

// Parent and child kill each other; many processes kill the same one.
static void kill_parent(uint64 parent) {
  kill(parent);
}

static void feud(uint64 unused) {
  (void)unused;
  int pid = start(kill_parent, getpid());
  kill(pid);
  for (;;)
    sleep(1);
}

static void kill_race(void) {
  for (int i = 0; i < 10; i++) {
    int pid = start(feud, 0);
    if (i % 2 == 0)
      kill(pid);
    kill(pid); // the feud may end undecided
    int status = finish(pid);
    WANT(status, -1);
  }
  int victim = start(sleep_forever, 0);
  for (int i = 0; i < 10; i++)
    start(kill_parent, victim);
  int killed = 0;
  for (int i = 0; i < 11; i++) {
    int status, pid = wait(&status);
    CHECK(pid > 0);
    WANT(status, pid == victim ? -1 : 0);
    killed += pid == victim;
  }
  WANT(killed, 1);
}

static void answer(uint64 both) {
  char byte;
  WANT(read(both & 0xff, &byte, 1), 1);
  WANT(write(both >> 8, &byte, 1), 1);
}

// Every fault ends the process that made it, and only that one: its siblings and their pipes go on.
static void fault_alone(void) {
  int there[2], back[2];
  char byte = 'b';
  WANT(pipe(there), 0);
  WANT(pipe(back), 0);
  int bystander = start(answer, back[1] << 8 | there[0]);
  for (int i = 0; i < 4; i++) {
    int status, pid = start(store_to, forbidden[i]);
    WANT(wait(&status), pid);
    WANT(status, -1);
  }
  WANT(write(there[1], &byte, 1), 1);
  WANT(read(back[0], &byte, 1), 1);
  WANT(finish(bystander), 0);
  close(there[0]);
  close(there[1]);
  close(back[0]);
  close(back[1]);
}

const struct test kill_tests[] = {
    {"kill_running", kill_running, 0},
    {"kill_sleeping", kill_sleeping, 0},
    {"kill_waiting", kill_waiting, 0},
    {"kill_in_pipe", kill_in_pipe, 0},
    {"kill_forking", kill_forking, 1},
    {"kill_in_files", kill_in_files, 1},
    {"kill_self", kill_self, 0},
    {"kill_dead", kill_dead, 0},
    {"kill_nobody", kill_nobody, 0},
    {"kill_init", kill_init, 0},
    {"kill_race", kill_race, 0},
    {"fault_alone", fault_alone, 0},
    {0, 0, 0},
};
