// forktest: fork until it fails, then see that every child can be waited for and that fork works again.
// Uses no printf and no malloc, so that the processes are as small as a program can be.
#include "kernel/types.h"
#include "kernel/param.h"
#include "user/user.h"

#define TOO_MANY (16 * NPROC) // fork has no limit if so many succeed

static void say(const char *text) {
  write(1, text, strlen(text));
}

static void say_number(int n) {
  char digits[12];
  int at = sizeof(digits);
  do {
    digits[--at] = '0' + n % 10;
    n /= 10;
  } while (n > 0);
  write(1, digits + at, sizeof(digits) - at);
}

static void give_up(const char *why) {
  say("forktest: ");
  say(why);
  say("\n");
  exit(1);
}

// Forks until the kernel refuses. All children wait for the end of the pipe, so that they are there together.
// Returns how many there were.
static int crowd(void) {
  int gate[2], children = 0, pid = 0;
  char byte;

  if (pipe(gate) < 0)
    give_up("pipe failed");
  while (children < TOO_MANY && (pid = fork()) > 0)
    children++;
  if (pid == 0) {
    close(gate[1]);
    exit(read(gate[0], &byte, 1));
  }
  close(gate[0]);
  close(gate[1]);
  if (children == TOO_MANY)
    give_up("fork never failed");
  for (int i = 0; i < children; i++) {
    int status;
    if (wait(&status) < 0)
      give_up("a child is missing");
    if (status != 0)
      give_up("a child ended badly");
  }
  if (wait(0) >= 0)
    give_up("wait found one child too many");
  return children;
}

int main(void) {
  int first = crowd(), again = crowd();

  if (first == 0 || again == 0)
    give_up("fork does not recover");
  say("forktest: ");
  say_number(first);
  say(" children at once\nforktest: OK\n");
  return 0;
}
