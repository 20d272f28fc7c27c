// ps: a line for each process.
#include "kernel/types.h"
#include "kernel/info.h"
#include "kernel/param.h"
#include "user/user.h"

static const char *state_name(int state) {
  static const char *const names[] = {
      [USED] = "new", [SLEEPING] = "sleeping", [RUNNABLE] = "runnable", [RUNNING] = "running", [ZOMBIE] = "zombie"};
  int known = state > UNUSED && state <= ZOMBIE;

  return known ? names[state] : "?";
}

int main(void) {
  static struct procinfo rows[4 * NPROC];
  int n = procinfo(rows, sizeof(rows) / sizeof(rows[0]));

  if (n < 0) {
    fprintf(2, "ps: the kernel does not say\n");
    return 1;
  }
  printf("%5s %6s %-8s %4s %10s %6s %6s %s\n", "PID", "PARENT", "STATE", "HART", "SIZE", "PAGES", "SHARED", "NAME");
  for (struct procinfo *p = rows; p < rows + n; p++)
    printf("%5d %6d %-8s %4d %10lu %6lu %6lu %s\n", p->pid, p->parent, state_name(p->state), p->hart, p->size, p->pages,
           p->shared, p->name);
  return 0;
}
