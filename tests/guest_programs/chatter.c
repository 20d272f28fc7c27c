// chatter PROCESSES LINES: so many processes each write so many whole lines, each line one write; every tenth line
// they have a child killed by a fault, so that the kernel has something to say at the same time.
#include "tests/guest_programs/check.h"

static void chat(int who, int lines) {
  for (int i = 0; i < lines; i++) {
    printf("process %d writes its line number %d and nothing comes in between\n", who, i);
    if (i % 10 == 0) {
      int pid = fork();
      if (pid == 0)
        *(volatile int *)(8UL * who) = 0;
      wait(0);
    }
  }
}

int main(int argc, char **argv) {
  int n = argc == 3 ? atoi(argv[1]) : 0, lines = argc == 3 ? atoi(argv[2]) : 0;
  for (int i = 0; i < n; i++)
    if (fork() == 0) {
      chat(i, lines);
      return 0;
    }
  while (wait(0) > 0)
    ;
  return 0;
}
