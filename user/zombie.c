// zombie: leaves a child unreaped for a while, to look at with ^P or ps; then init gets it.
#include "kernel/types.h"
#include "user/user.h"

int main(void) {
  if (fork() > 0)
    sleep(5);
  return 0;
}
