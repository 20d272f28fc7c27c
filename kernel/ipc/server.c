// The life of the crypto server. Its process is never replaced: when it dies, its exit() becomes a new beginning of
// the same process, so it keeps pid 2 and its slot, and requests that wait stay where they are.
#include "kernel/ipc/server.h"
#include "kernel/crypto.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/ipc/shmem_queue.h"
#include "kernel/lib/lib.h"
#include "kernel/mm/frame.h"
#include "kernel/proc/exec.h"
#include "kernel/proc/proc.h"
#include "kernel/trace/trace.h"

#define ATTEMPTS 6       // at running the program, with memory in plenty, until the server is given up
#define PLENTY 64        // free frames: more than the program needs
#define LONGEST_PAUSE 64 // ticks before a new start
#define CALM_LIFE 100    // ticks a server must live, if it serves nothing, for its death not to be one of a series

// The server's process alone touches these.
static uint started;    // when, in ticks
static uint64 served;   // shmem_queue.served at that time
static uint pause = 1;  // ticks to wait before the next start: doubled by each death or failure in a series
static uint64 restarts; // since boot

int is_server(struct proc *p) {
  return p->pid == CRYPTO_SRV_PID; // not its slot: given up, it leaves that to others, but not its pid
}

void crypto_srv_init(void) {
  queue_init();
  struct proc *p = kernel_process(CRYPTO_SRV_PID, "crypto_srv");
  printf("crypto_srv: process %d serves crypto requests\n", p->pid);
  make_runnable(p);
}

// Replaces the caller's image by the server's program, with no open files and the root as working directory: 0, or -1.
static int run_program(struct proc *p) {
  for (int fd = 0; fd < NOFILE; fd++)
    if (p->ofile[fd]) {
      fileclose(p->ofile[fd]);
      p->ofile[fd] = 0;
    }
  if (p->cwd)
    iput_op(p->cwd);
  p->cwd = namei("/");
  int argc = exec("/crypto_srv", (char *const[]){"crypto_srv", 0});
  if (argc < 0)
    return -1;
  p->trapframe->a0 = argc;
  started = READ_ONCE(ticks);
  served = shmem_queue.served;
  trace(TRACE_SERVER_START, p->pid, restarts);
  return 0;
}

static void give_up(void) {
  printf("crypto_srv: /crypto_srv does not run; crypto requests are refused\n");
  queue_server_died(1);
}

void crypto_srv_first_run(void) {
  if (run_program(myproc()) < 0) {
    give_up();
    exit(-1);
  }
}

int server_restart(struct proc *p, int status) {
  if (shmem_queue.closed)
    return 0;
  printf("crypto_srv: died (status %d), starting again\n", status);
  trace(TRACE_SERVER_DEATH, p->pid, status, shmem_queue.count + shmem_queue.in_line);
  queue_server_died(0);
  if (READ_ONCE(ticks) - started >= CALM_LIFE || shmem_queue.served != served)
    pause = 1;
  // A file that does not run will not run the seventh time; memory that others hold comes back.
  for (int failed = 0; failed < ATTEMPTS; failed += READ_ONCE(kmem.nfree) >= PLENTY) {
    p->killed = 0; // or it could not sleep
    sleep_ticks(pause);
    if (pause < LONGEST_PAUSE)
      pause *= 2;
    restarts++;
    if (run_program(p) == 0)
      return 1;
  }
  give_up();
  return 0;
}
