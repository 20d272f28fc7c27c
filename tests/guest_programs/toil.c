// toil MILLIONS: eight processes at once, each so many million steps of arithmetic over memory of its own and hardly a
// call to the kernel: what a unit of user work costs the host at this moment.
#include "user/user.h"

#define PROCESSES 8
#define WORDS 2048

int main(int argc, char *argv[]) {
  static uint words[WORDS];
  int steps = argc == 2 ? atoi(argv[1]) * 1000000 : 0;
  for (int i = 0; i < PROCESSES; i++)
    if (fork() == 0) {
      uint state = i;
      for (int n = 0; n < steps; n++) {
        state = state * 1664525 + 1013904223;
        words[state % WORDS] += state;
      }
      exit(words[0] == 1 && words[1] == 1); // the sums are wanted, so the compiler leaves the loop in
    }
  while (wait(0) > 0)
    ;
  printf("toil: OK\n");
  return 0;
}
