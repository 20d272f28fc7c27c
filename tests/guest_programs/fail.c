// fail [-n] [-o] KIND FIRST LAST COMMAND...: runs the command again and again, the FIRSTth, next, ... allocation of
// that kind failing (kernel/lib/failpoint.h), until it takes less than that or LAST was reached. FIRST may be `new`:
// the first allocation by each path of calls that has not failed before fails, until there is none. After each run
// every frame and process must be back; with -n the command then runs undisturbed and must end as it did at the
// beginning; with -o all allocations fail from that one on. Prints one line a run, which the host judges; exit status 0
// if all came back. `fail -f` makes all paths new again.
#include "kernel/fcntl.h"
#include "kernel/lib/failpoint.h"
#include "tests/guest_programs/check.h"

#define DEVICE "/failpoint"
#define PATIENCE 50 // ticks a run may take, or be killed: programs wait for what a failure has kept from coming
#define SETTLE 100  // ticks until orphans must have gone

static int device;

static void tell(const char *text) {
  if (write(device, text, strlen(text)) != (int)strlen(text)) {
    printf("fail: the kernel does not take %s\n", text);
    exit(2);
  }
}

#define TRUST 3000 // the same for one that nothing disturbs

static int start_clock(int ticks) {
  int pid = fork();
  if (pid == 0) {
    sleep(ticks);
    exit(0);
  }
  return pid;
}

// Runs the command as a victim of `plan`, of nothing if that is 0: its status, or 1000 if it had to be killed.
static int run(const char *plan, char **command) {
  int status = 1000, clock = start_clock(plan ? PATIENCE : TRUST), pid = fork();
  if (pid == 0) {
    if (plan)
      tell(plan);
    close(device);
    exec(command[0], command);
    exit(99);
  }
  int how, first = wait(&how);
  if (first == pid) {
    status = how;
    kill(clock);
  } else {
    tell("kill");
    kill(pid);
  }
  wait(0);
  tell("off");
  return status;
}

static int processes(void) {
  static struct procinfo rows[NPROC];
  return procinfo(rows, NPROC);
}

// Victims that outlive the command would wait for ever: they go with it.
static int settled(uint64 frames, int lives) {
  tell("kill");
  for (int tick = 0; free_frames() < frames || processes() > lives; tick++) {
    if (tick == SETTLE)
      return 0;
    sleep(1);
  }
  return 1;
}

static int again; // run undisturbed after each failure?
static int on;    // do those fail that follow?

// kind and " N", or " new" for 0; " on".
static void make_plan(char *plan, const char *kind, int n) {
  char digits[12];
  int i = sizeof(digits);
  strcpy(plan, kind);
  plan += strlen(plan);
  digits[--i] = 0;
  for (; n > 0; n /= 10)
    digits[--i] = '0' + n % 10;
  *plan = ' ';
  strcpy(plan + 1, digits[i] ? digits + i : "new");
  if (on)
    strcpy(plan + strlen(plan), " on");
}

// Prints what the last run met; how many allocations failed.
static int print_report(const char *plan, int status) {
  static char report[600];
  int length = read(device, report, sizeof(report) - 1);
  report[length < 0 ? 0 : length] = 0;
  printf("fail: %s: status %d: %s", plan, status, report);
  for (char *p = report; *p; p++)
    if (memcmp(p, "failed ", 7) == 0)
      return atoi(p + 7);
  return 0;
}

static int run_all(const char *kind, int first, int last, char **command) {
  int lives = processes();
  int normal = 0;
  if (again || (strcmp(kind, "read") != 0 && strcmp(kind, "inode") != 0)) // which need cold caches
    normal = run(0, command); // caches fill, the server's memory finds its size
  settled(0, lives);
  uint64 frames = free_frames();
  for (int n = first; last == 0 || n <= last; n += first > 0) {
    char plan[32];
    make_plan(plan, kind, n);
    int failed = print_report(plan, run(plan, command));
    if (!settled(frames, lives)) {
      printf("fail: %d frames lost, %d processes more\n", (int)(frames - free_frames()), processes() - lives);
      return 1;
    }
    if (again && run(0, command) != normal) {
      printf("fail: %s does not end with status %d any more\n", command[0], normal);
      return 1;
    }
    if (failed == 0)
      return 0;
  }
  return 0;
}

int main(int argc, char *argv[]) {
  for (; argc > 1 && argv[1][0] == '-' && argv[1][1] != 'f'; argv++, argc--) {
    again |= argv[1][1] == 'n';
    on |= argv[1][1] == 'o';
  }
  mknod(DEVICE, FAILPOINT, 0);
  if ((device = open(DEVICE, O_RDWR)) < 0)
    return 2;
  if (argc == 2 && strcmp(argv[1], "-f") == 0) {
    tell("forget");
    return 0;
  }
  if (argc < 5)
    return 2;
  return run_all(argv[1], atoi(argv[2]), atoi(argv[3]), argv + 4);
}
