// The lives of processes: slots, birth by fork, death by exit, burial by wait, and kill.
// tree_lock guards who is whose child and which pids exist; a process in the tree is not freed while it is held.
#include "kernel/boot/boot.h"
#include "kernel/dev/dev.h"
#include "kernel/fs/fs_kernel.h"
#include "kernel/ipc/server.h"
#include "kernel/ipc/shmem_queue.h"
#include "kernel/lib/failpoint.h"
#include "kernel/lib/lib.h"
#include "kernel/memlayout.h"
#include "kernel/mm/frame.h"
#include "kernel/mm/user.h"
#include "kernel/mm/vm.h"
#include "kernel/proc/exec.h"
#include "kernel/proc/fp.h"
#include "kernel/proc/lock.h"
#include "kernel/proc/sched.h"
#include "kernel/trace/trace.h"

#define PID_FIRST_FREE 3 // 2 is the crypto server
#define PATIENCE 10      // ticks fork() waits for init to reap what is dead
#define INIT_RETRY 10    // ticks before /init is tried again

struct cpu cpus[NCPU];
struct proc proc[NPROC];
struct spinlock tree_lock;

static struct proc *pid_hash[NPROC];  // tree lock: chains of the processes that have a pid
static struct proc *initproc;         // constant after userinit()
static int next_pid = PID_FIRST_FREE; // tree lock

void first_return(void); // boot/vector.S
void forkret(void);      // called from there

void procinit(void) {
  initlock(&tree_lock, RANK_TREE);
  for (int i = 0; i < NPROC; i++) {
    struct proc *p = &proc[i];
    initlock(&p->lock, RANK_PROC);
    initlock(&p->memory_lock, RANK_MEMORY);
    p->kstack = KSTACK_TOP(i) - KSTACK_PAGES * PGSIZE;
    p->trapframe = (struct trapframe *)KSTACK_TOP(i) - 1;
  }
  schedinit();
  sleepinit();
}

// ---- the tree ----

// Any process of that pid, a zombie too.
static struct proc *lookup(int pid) {
  struct proc *p = pid > 0 ? pid_hash[pid % NPROC] : 0;
  while (p && p->pid != pid)
    p = p->pid_next;
  return p;
}

struct proc *find_proc(int pid) {
  struct proc *p = lookup(pid);
  return p && p->pagetable ? p : 0;
}

int is_ancestor(struct proc *older, struct proc *p) {
  while (p && p != older)
    p = p->parent;
  return p != 0;
}

static void become_child(struct proc *p, struct proc *parent) {
  p->parent = parent;
  p->sibling = parent->children;
  p->sibling_prev = &parent->children;
  if (p->sibling)
    p->sibling->sibling_prev = &p->sibling;
  parent->children = p;
}

static void tree_insert(struct proc *p, struct proc *parent) {
  p->pid_next = pid_hash[p->pid % NPROC];
  pid_hash[p->pid % NPROC] = p;
  p->children = 0;
  p->parent = 0;
  if (parent)
    become_child(p, parent);
}

static void leave_siblings(struct proc *p) {
  *p->sibling_prev = p->sibling;
  if (p->sibling)
    p->sibling->sibling_prev = p->sibling_prev;
}

static void tree_remove(struct proc *p) {
  struct proc **at = &pid_hash[p->pid % NPROC];
  while (*at != p)
    at = &(*at)->pid_next;
  *at = p->pid_next;
  leave_siblings(p);
}

// Children of one that exits become init's.
static void tree_orphan(struct proc *p) {
  struct proc *child;
  while ((child = p->children)) {
    leave_siblings(child);
    become_child(child, initproc);
    if (READ_ONCE(child->state) == ZOMBIE)
      wakeup(initproc);
  }
}

static int new_pid(void) {
  int pid;
  do {
    pid = next_pid;
    next_pid = next_pid == 0x7fffffff ? PID_FIRST_FREE : next_pid + 1;
  } while (lookup(pid));
  return pid;
}

// ---- slots ----

struct proc *allocproc(int pid) {
  if (fail_here(FAIL_process))
    return 0;
  for (struct proc *p = proc; p < &proc[NPROC]; p++) {
    if (READ_ONCE(p->state) != UNUSED)
      continue;
    acquire(&p->lock);
    int mine = p->state == UNUSED;
    if (mine)
      WRITE_ONCE(p->state, USED);
    release(&p->lock);
    if (!mine)
      continue;
    p->pid = pid;
    p->killed = p->xstate = p->fp_used = p->hart = 0;
    p->chan = 0;
    p->sz = p->odd_top = p->has_holes = 0;
    p->crypto.open = p->crypto.lost = 0;
    p->cwd = 0;
    p->name[0] = 0;
    memset(p->ofile, 0, sizeof(p->ofile));
    p->context = (struct context){.ra = (uint64)first_return, .sp = (uint64)p->trapframe};
    return p;
  }
  return 0;
}

static void free_slot(struct proc *p) {
  acquire(&p->lock);
  p->pid = 0;
  WRITE_ONCE(p->state, UNUSED);
  release(&p->lock);
}

// The kernel's own processes: pid 1 and 2. They have an empty address space until forkret() execs their program.
struct proc *kernel_process(int pid, const char *name) {
  struct proc *p = allocproc(pid);
  if (!p || (p->pagetable = uvmcreate()) == 0)
    panic("no memory for process %d", pid);
  memset(p->trapframe, 0, sizeof(*p->trapframe));
  safestrcpy(p->name, name, sizeof(p->name));
  acquire(&tree_lock);
  tree_insert(p, 0);
  release(&tree_lock);
  return p;
}

void userinit(void) {
  initproc = kernel_process(INIT_PID, "init");
  make_runnable(initproc);
}

int start_program(struct proc *p, const char *path) {
  char *argv[] = {(char *)path, 0};
  if (!p->cwd)
    p->cwd = namei("/");
  int argc = exec(path, argv);
  if (argc < 0)
    return -1;
  p->trapframe->a0 = argc;
  return 0;
}

// Returns when every hart has said that it is there, so that nothing comes between what programs print and read.
static void wait_for_harts(void) {
  for (int i = 0; i < ncpu; i++)
    while (!READ_ONCE(cpus[i].online))
      yield();
}

// Every process's first kernel code, from first_return (vector.S), on the way to user mode. Interrupts are off.
void forkret(void) {
  struct proc *p = mycpu()->proc;
  fp_arrive(p);
  mycpu()->noff = 0;
  csr_set(sstatus, SSTATUS_SIE);
  if (p == initproc) {
    fsinit(ROOTDEV);
    crypto_srv_init(); // its program is on the disk
    wait_for_harts();
    races_begin();
    if (start_program(p, "/init") < 0) {
      printf("root disk refused: it has no /init that can be executed\n");
      power_off();
    }
  } else if (is_server(p)) {
    crypto_srv_first_run();
  }
  csr_clear(sstatus, SSTATUS_SIE);
  usertrapret();
}

// ---- fork, exit, wait, kill ----

// What the child has of its parent's, beyond memory. Interrupts on; the parent is the caller.
static void inherit(struct proc *parent, struct proc *child) {
  *child->trapframe = *parent->trapframe;
  child->trapframe->a0 = 0;
  fp_fork(parent, child);
  fail_inherit(parent, child);
  for (int fd = 0; fd < NOFILE; fd++)
    if (parent->ofile[fd])
      child->ofile[fd] = filedup(parent->ofile[fd]);
  child->cwd = idup(parent->cwd);
  safestrcpy(child->name, parent->name, sizeof(child->name));
}

// A dead child of p; *any says whether there are children at all. tree lock held.
static struct proc *dead_child(struct proc *p, int *any) {
  *any = p->children != 0;
  struct proc *child = p->children;
  while (child && READ_ONCE(child->state) != ZOMBIE)
    child = child->sibling;
  return child;
}

// A slot for a new child. Dead orphans that init has not come to yet do not count as a full table: it gets a moment.
static struct proc *child_slot(void) {
  struct proc *slot;
  for (int tries = 0; (slot = allocproc(0)) == 0 && tries < PATIENCE; tries++) {
    int any;
    acquire(&tree_lock);
    int hope = dead_child(initproc, &any) != 0;
    release(&tree_lock);
    if (!hope)
      return allocproc(0); // init may have come to them just now
    if (sleep_ticks(1) < 0)
      break;
  }
  return slot;
}

int fork(void) {
  struct proc *parent = myproc(), *child = child_slot();
  if (!child)
    return -1;
  pagetable_t pagetable = uvmcreate();
  child->pagetable = pagetable;
  if (!pagetable || uvmcopy(parent, child) < 0) {
    note_loose_table(1);
    acquire(&child->memory_lock); // the audit may be reading it
    child->pagetable = 0;
    release(&child->memory_lock);
    if (pagetable)
      uvmfree(pagetable);
    note_loose_table(0);
    free_slot(child);
    return -1;
  }
  inherit(parent, child);

  acquire(&tree_lock);
  int pid = child->pid = new_pid();
  tree_insert(child, parent);
  trace(TRACE_FORK, pid, pa_of(pagetable));
  make_runnable(child);
  release(&tree_lock);
  return pid;
}

static void drop_memory(struct proc *p) {
  note_loose_table(1);
  acquire(&p->memory_lock);
  pagetable_t pagetable = p->pagetable;
  p->pagetable = 0;
  WRITE_ONCE(p->sz, 0);
  p->odd_top = 0;
  release(&p->memory_lock);
  use_pagetable(kernel_pagetable);
  uvmfree(pagetable); // out of everyone's reach: no lock, interrupts on
  note_loose_table(0);
}

static void close_files(struct proc *p) {
  for (int fd = 0; fd < NOFILE; fd++) {
    struct file *f = p->ofile[fd];
    p->ofile[fd] = 0;
    if (f)
      fileclose(f);
  }
}

// init and the server go on for ever: a new program in the same process. Returns if it can't be started.
static void start_again(struct proc *p, int status) {
  p->killed = 0;
  if (p == initproc) {
    printf("init: exited with status %d, starting again\n", status);
    while (start_program(p, "/init") < 0) { // memory is short, or a program has removed the file: either may end
      printf("/init: can't be executed\n");
      sleep_ticks(INIT_RETRY);
    }
  } else {
    acquire(&tree_lock);
    tree_orphan(p);
    release(&tree_lock);
    if (!server_restart(p, status))
      return;
  }
  csr_clear(sstatus, SSTATUS_SIE);
  return_afresh(p->trapframe);
}

void exit(int status) {
  struct proc *p = myproc();
  trace(TRACE_EXIT, status);
  close_files(p);
  if (p == initproc || is_server(p))
    start_again(p, status);
  iput_op(p->cwd);
  p->cwd = 0;
  queue_cancel(p);
  drop_memory(p);

  acquire(&tree_lock);
  tree_orphan(p);
  if (!p->parent) // the server, down for good
    become_child(p, initproc);
  p->xstate = status;
  WRITE_ONCE(p->state, ZOMBIE);
  wakeup(p->parent);
  push_off();
  release(&tree_lock);
  sched();
  panic("a zombie runs");
}

int wait(uint64 status_va) {
  struct proc *p = myproc();
  struct span status;
  if (status_va && (user_span(&status, status_va, sizeof(int)) < 0 || span_check(status, ACCESS_WRITE) < 0))
    return -1;

  acquire(&tree_lock);
  for (;;) {
    int any;
    struct proc *child = dead_child(p, &any);
    if (child) {
      int pid = child->pid, xstate = child->xstate;
      tree_remove(child);
      release(&tree_lock);
      while (__atomic_load_n(&child->on_hart, __ATOMIC_ACQUIRE))
        ; // it is on its last instructions; its stack is its slot's
      while (__atomic_load_n(&child->pins, __ATOMIC_ACQUIRE))
        yield(); // nobody can find it any more; who has found it is about to see that its memory has gone
      free_slot(child);
      trace(TRACE_WAIT, pid, xstate);
      if (status_va)
        span_write(status, 0, &xstate, sizeof(xstate));
      return pid;
    }
    if (!any || sleep_killable(p, &tree_lock) < 0) {
      release(&tree_lock);
      return -1;
    }
  }
}

int kill(int pid) {
  acquire(&tree_lock);
  struct proc *p = lookup(pid);
  int possible = p && p != initproc && !is_server(p);
  if (possible) {
    trace(TRACE_KILL, pid);
    setkilled(p);
  }
  release(&tree_lock);
  return possible ? 0 : -1;
}

void setkilled(struct proc *p) {
  __atomic_store_n(&p->killed, 1, __ATOMIC_SEQ_CST);
  unsleep(p);
}

int killed(struct proc *p) {
  return p->killed;
}
