// nap TIMES: wakes so many times, a tick apart, for a moment: the tick comes to hart 0, which rings another hart for
// it, and that hart sets its timer anew before it ever comes to anything.
#include "user/user.h"

int main(int argc, char *argv[]) {
  for (int left = argc == 2 ? atoi(argv[1]) : 0; left > 0; left--)
    sleep(1);
  printf("nap: OK\n");
  return 0;
}
