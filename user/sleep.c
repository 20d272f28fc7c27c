// sleep ticks: waits that many tenths of a second.
#include "kernel/types.h"
#include "user/user.h"

int main(int argc, char **argv) {
  if (argc != 2 || argv[1][0] < '0' || argv[1][0] > '9') {
    fprintf(2, "usage: sleep ticks\n");
    return 2;
  }
  return sleep(atoi(argv[1])) < 0;
}
