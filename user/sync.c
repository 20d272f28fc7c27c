// sync: returns when everything written so far would survive a power cut.
#include "kernel/types.h"
#include "user/user.h"

int main(void) {
  if (sync() == 0)
    return 0;
  fprintf(2, "sync: the kernel refused\n");
  return 1;
}
