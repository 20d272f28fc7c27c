// The first process: gives the machine a console and a shell on it, and reaps every orphan.
#include "kernel/types.h"
#include "kernel/fcntl.h"
#include "kernel/file.h"
#include "user/user.h"

#define RETRY 10 // ticks before the next try when a shell cannot start

static void open_console(void) {
  if (open("console", O_RDWR) < 0) {
    mknod("console", CONSOLE, 0);
    open("console", O_RDWR);
  }
  dup(0);
  dup(0);
}

// Pid of a new shell, or -1.
static int start_shell(void) {
  static char *argv[] = {"sh", 0};

  printf("init: starting sh\n");
  int pid = fork();
  if (pid == 0) {
    exec("/sh", argv);
    printf("init: cannot run /sh\n");
    sleep(RETRY);
    exit(1);
  }
  return pid;
}

int main(void) {
  open_console();
  for (int shell = -1;;) {
    if (shell < 0)
      shell = start_shell();
    int pid = wait(0);
    if (pid < 0)
      sleep(RETRY); // no child at all: fork() failed
    else if (pid == shell)
      shell = -1;
  }
}
