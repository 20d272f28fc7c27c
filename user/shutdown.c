// shutdown: saves everything written so far and powers the machine off.
#include "kernel/types.h"
#include "user/user.h"

int main(void) {
  sync();
  shutdown();
  fprintf(2, "shutdown: the machine is still on\n");
  return 1;
}
