// Processes and harts: what the kernel keeps of each, and what one may do with them.
// proc/proc.c owns lives, proc/sched.c who runs where, proc/sleep.c who waits for what.
#pragma once
#include "kernel/info.h"
#include "kernel/param.h"
#include "kernel/riscv.h"
#include "kernel/spinlock.h"

// The registers of a user program while the kernel runs for it; at the top of its kernel stack.
// Offsets are known to boot/vector.S.
struct trapframe {
  uint64 kernel_hartid; // 0: struct cpu of the hart this process runs on, tp while in the kernel
  uint64 epc;           // 8: user program counter
  uint64 ra;            // 16
  uint64 sp;
  uint64 gp;
  uint64 tp;
  uint64 t0;
  uint64 t1;
  uint64 t2;
  uint64 s0;
  uint64 s1;
  uint64 a0;
  uint64 a1;
  uint64 a2;
  uint64 a3;
  uint64 a4;
  uint64 a5;
  uint64 a6;
  uint64 a7;
  uint64 s2;
  uint64 s3;
  uint64 s4;
  uint64 s5;
  uint64 s6;
  uint64 s7;
  uint64 s8;
  uint64 s9;
  uint64 s10;
  uint64 s11;
  uint64 t3;
  uint64 t4;
  uint64 t5;
  uint64 t6;
  uint64 padding; // keeps the stack below it 16-byte aligned
};

// What swtch() saves: the registers a called function must preserve.
struct context {
  uint64 ra;
  uint64 sp;
  uint64 s0;
  uint64 s1;
  uint64 s2;
  uint64 s3;
  uint64 s4;
  uint64 s5;
  uint64 s6;
  uint64 s7;
  uint64 s8;
  uint64 s9;
  uint64 s10;
  uint64 s11;
};

struct fpstate {
  uint64 f[32];
  uint64 fcsr;
};

#define INIT_PID 1
#define LOST_MAX (2 * NSHMEM_REQS) // as many requests as one death of the server can lose: in service, and waiting

// What the crypto queue keeps of a process (ipc/shmem_queue.c).
struct crypto_client {
  uint open;              // its requests that wait or are in service
  uint lost;              // how many of the following hold
  uint64 where[LOST_MAX]; // addresses of requests that were lost, and that crypto_wait() has yet to say so of
};

#define HELD_MAX 12 // locks one hart may hold at once

// One hart. tp points here while in the kernel. Only its own hart writes to it, but for the fields said otherwise.
struct cpu {
  struct proc *proc;      // who runs here, 0 in the scheduler
  uint64 *ring_head;      // of the ring where this hart's events go
  int id;                 // hart number
  int noff;               // depth of push_off()
  int intena;             // were interrupts on before the first push_off()?
  int online;             // has it reached its scheduler?
  uint64 stamp;           // what its events say of hart and process (trace/trace.h)
  uint64 trace_mask;      // any hart: copy of trace_mask
  volatile int emitting;  // is it filling a record? Then no other process runs here before that is done
  struct context context; // the scheduler's, to switch back to
  uint64 tlb_request;     // any hart: shootdowns asked for so far (mm/tlb.c)
  uint64 tlb_done;        // of these, done
  int reschedule;         // any hart: give way at the next return to user mode
  int held_count;         // locks held now, for reports and the order check
  struct spinlock *held[HELD_MAX];
  struct spinlock *waiting; // the lock it spins for, 0 if none
};

struct proc {
  struct spinlock lock; // guards the slot's life: pid, and state between UNUSED and anything else

  enum procstate state;                // sleepers' bucket lock for SLEEPING <-> RUNNABLE, else its own hart
  void *chan;                          // what it sleeps on, if asleep; same guard
  struct proc *chan_next, **chan_prev; // neighbours in the bucket; same guard
  int killable;                        // may kill() end this sleep? same guard
  volatile int killed;                 // set by kill(), any hart
  int xstate;                          // exit status; tree lock
  int pid;                             // lock; constant while not UNUSED

  struct proc *parent;                  // tree lock
  struct proc *children;                // first child; tree lock
  struct proc *sibling, **sibling_prev; // neighbours among the parent's children; tree lock
  struct proc *pid_next;                // chain of the pid hash; tree lock

  int pins; // others at work on its memory, who keep the slot from being freed; atomic, from 0 up: tree lock
  volatile int on_hart;  // its registers are (still) on a hart: do not run it elsewhere
  int hart;              // where it runs or ran last
  struct proc *run_next; // next in its run queue; that queue's lock

  struct spinlock memory_lock; // guards sz and the table below the root
  uint64 sz;                   // bytes of user memory
  uint64 odd_top;        // sz before a mapping was made on it, if that was no multiple of a page; else 0; same guard
  int has_holes;         // has a shared page below others been unmapped since exec? same guard
  pagetable_t pagetable; // 0 once it has exited

  // private to the process itself
  uint64 kstack;               // lowest address of its kernel stack
  struct trapframe *trapframe; // at the top of that stack
  struct context context;      // to switch to it
  struct file *ofile[NOFILE];  // open files
  struct inode *cwd;           // current directory
  char name[16];               // for people
  int fp_used;                 // does it have floating point registers to keep?
  struct fpstate fp;
  struct crypto_client crypto; // shmem_queue lock
};

extern struct cpu cpus[NCPU];
extern struct proc proc[NPROC];
extern struct spinlock tree_lock;
extern int ncpu; // harts this machine has

// This hart. Meaningful only while it can't be left: interrupts off.
static inline struct cpu *mycpu(void) {
  register struct cpu *c asm("tp");
  asm volatile("" : "=r"(c)); // read afresh: the process may have moved
  return c;
}

// The running process, 0 in the scheduler. One instruction, so it can't be another hart's by the time it is read;
// and the same for as long as code runs on one stack, so that the compiler may read it once.
static inline struct proc *myproc(void) {
  struct proc *p;
  asm("ld %0, 0(tp)" : "=r"(p)); // tp->proc
  return p;
}

// Lives (proc/proc.c)
void procinit(void);
void userinit(void); // process 1, from /init
// A process the kernel makes, 1 or 2: an empty address space until forkret() starts its program. Not yet runnable.
struct proc *kernel_process(int pid, const char *name);
// Execs path in p, which is the caller: 0, or -1. For processes the kernel made.
int start_program(struct proc *p, const char *path);
int fork(void); // -> child's pid, -1 without a free slot or memory
void exit(int status) __attribute__((noreturn));
int wait(uint64 status_va); // -> a dead child's pid, -1 without children or if killed
int kill(int pid);          // 0, or -1 if there is no such process
int killed(struct proc *p);
void setkilled(struct proc *p);
struct proc *find_proc(int pid);                     // tree lock held; 0 if unknown or exited
int is_ancestor(struct proc *older, struct proc *p); // tree lock held
// Work on another's memory may have to wait for its memory_lock, and that must not be with the tree lock held, which
// everybody needs. A pinned process may exit and lose its memory, but its slot stays its own until it is unpinned.
static inline void pin(struct proc *p) { // tree lock held, or anything else that keeps it from being freed
  __atomic_fetch_add(&p->pins, 1, __ATOMIC_RELAXED);
}
static inline void unpin(struct proc *p) {
  __atomic_fetch_sub(&p->pins, 1, __ATOMIC_RELEASE);
}
struct proc *allocproc(int pid); // a slot ready to run forkret(); 0 if none is free

// Waiting (proc/sleep.c). Both give up lk, sleep, and hold lk again on return.
void sleep(void *chan, struct spinlock *lk); // for waits that end soon by themselves (disk): kill() leaves them alone
int sleep_killable(void *chan, struct spinlock *lk); // -1 if the process has been killed, else 0
void wakeup(void *chan);
int sleep_ticks(uint64 n); // 0, or -1 if killed
extern uint ticks;         // tenths of a second since boot

// Running (proc/sched.c)
void scheduler(void) __attribute__((noreturn));
void sched(void); // leave the hart; interrupts off, state no longer RUNNING
void yield(void);
void make_runnable(struct proc *p);
