// flood THOUSANDS: makes so many thousand getpid calls in a row: with the sys events on, two records each.
#include "tests/guest_programs/check.h"

int main(int argc, char **argv) {
  for (int i = argc == 2 ? atoi(argv[1]) * 1000 : 0; i > 0; i--)
    getpid();
  return 0;
}
