// wild: writes to the last byte of user memory, which no process has.
#include "kernel/types.h"
#include "kernel/riscv.h"
#include "user/user.h"

int main(void) {
  *(volatile char *)(MAXVA - 1) = 1;
  return 0;
}
