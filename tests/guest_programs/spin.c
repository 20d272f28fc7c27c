// spin MILLIONS: keeps a hart busy in user mode for so many million turns of a loop.
#include "tests/guest_programs/check.h"

int main(int argc, char **argv) {
  for (uint64 i = argc == 2 ? atoi(argv[1]) * 1000000UL : 0; i > 0; i--)
    asm volatile("");
  return 0;
}
