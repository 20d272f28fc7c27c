// A kernel that never runs: xv6's names and structs, so that tests can fill a memory image through its debug
// information. -DCOUNTED gives it frames[] with reference counts, rings, and locks that know where they were taken;
// -DBARE takes away every field that some kernel may not have; -DPER_HART gives each hart a free list.
typedef unsigned int uint;
typedef unsigned long uint64;

enum procstate { UNUSED, USED, SLEEPING, RUNNABLE, RUNNING, ZOMBIE };

struct cpu;
struct spinlock {
  uint locked;
#ifndef BARE
  char *name;
  struct cpu *cpu;
#endif
#ifdef COUNTED
  uint64 pc;
#endif
};
struct sleeplock {
  uint locked;
  struct spinlock lk;
  char *name;
  int pid;
};
struct context {
  uint64 ra, sp, s0;
};
struct trapframe {
  uint64 epc, ra, sp, s0, a0, a7;
};
struct pipe {
  struct spinlock lock;
  uint nread, nwrite;
};
struct file {
  enum { FD_NONE, FD_PIPE, FD_INODE } type;
  int ref;
  char readable, writable;
  struct pipe *pipe;
};
struct cpu {
  struct proc *proc;
#ifndef BARE
  int noff;
#endif
#ifdef COUNTED
  struct spinlock *waiting;
#endif
};
struct proc {
  struct spinlock lock;
  enum procstate state;
  int pid;
  uint64 sz, *pagetable;
#ifndef BARE
  void *chan;
  struct proc *parent;
  uint64 kstack;
  struct trapframe *trapframe;
  struct context context;
  struct file *ofile[4];
#endif
  char name[16];
};
struct buf {
  int valid;
  struct sleeplock lock;
  char data[512];
};
struct shmem_request {
  int src_pid, dst_pid;
  uint64 src_va, size;
};

struct cpu cpus[2];
struct proc proc[8];
uint64 *kernel_pagetable;
uint ticks;
struct {
  struct spinlock lock;
  struct buf buf[3];
} bcache;
struct {
  struct spinlock lock;
  struct file file[8];
} ftable;
static struct shmem_queue {
  struct spinlock lock;
  struct shmem_request requests[4];
  int read_idx, write_idx;
} shmem_queue;

#ifdef COUNTED
struct frame {
  union {
    struct {
      uint count;
      union {
        uint shares, next;
      };
    };
    uint64 both;
  };
};
struct frame *frames;
uint nframes, first_frame;
struct kmem {
  struct spinlock lock;
  uint freelist;
} kmem;
void *trace_rings[2];
struct trace_event_info {
  unsigned short id, flags, count;
  char name[18], category[8], arguments[96];
};
struct trace_value_info {
  char set[12];
  uint value;
  char name[32];
};
__attribute__((used)) const struct trace_event_info trace_event_table[] = {
    {0, 0, 2, "map", "shm", "src:pid to:va"},
    {1, 0, 2, "state", "shm", "state:op_state who:symbol"},
    {2, 0, 5, "note", "user", "text:text"},
};
__attribute__((used)) const struct trace_value_info trace_value_table[] = {{"op_state", 2, "DONE"}};
#else
struct run {
  struct run *next;
};
struct {
  struct spinlock lock;
  struct run *freelist;
} kmem
#ifdef PER_HART
    [2]
#endif
    ;
#endif

char *lock_name = "bcache";

__attribute__((noinline)) void acquire(struct spinlock *lk) {
  while (__sync_lock_test_and_set(&lk->locked, 1))
    ;
}

__attribute__((noinline)) void sched(void) {
  acquire(&shmem_queue.lock);
  __asm__ volatile("" ::: "memory");
}

void _start(void) {
  acquire(&bcache.lock);
  sched();
  ticks += (uint64)lock_name + (uint64)&ftable + (uint64)&kmem + (uint64)kernel_pagetable + (uint64)cpus + proc[0].pid;
}
